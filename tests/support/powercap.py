"""Trees of Linux' powercap, whose counters a test sets, or which count by themselves."""

import threading
import time

RANGE_UJ = 262_143_328_850


class Powercap:
    """A powercap tree: two sockets with DRAM, core inside the package, psys around it."""

    def __init__(self, root):
        self.root = root
        zones = {
            "intel-rapl:0": "package-0",
            "intel-rapl:0:0": "core",
            "intel-rapl:0:1": "dram",
            "intel-rapl:1": "package-1",
            "intel-rapl:1:0": "dram",
            "intel-rapl:2": "psys",
            "intel-rapl-mmio:0": "package-0",
        }
        for folder, name in zones.items():
            path = root / folder
            path.mkdir(parents=True)
            (path / "name").write_text(name + "\n")
            (path / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
            self.set(folder, 1_000_000)

    def set(self, folder, energy_uj):
        (self.root / folder / "energy_uj").write_text(f"{energy_uj}\n")


class LivePowercap(Powercap):
    """A powercap tree that counts 100 W a package; dies may show the register of another."""

    def __init__(self, root, mirrors=(), still=()):
        super().__init__(root)
        self._mirrors, self._still = dict(mirrors), still
        for zone, of in self._mirrors.items():  # both files show one register
            (root / zone / "energy_uj").unlink()
            (root / zone / "energy_uj").symlink_to(f"../{of}/energy_uj")
        self._stop = threading.Event()
        self.start_s = time.monotonic()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def close(self):
        self._stop.set()
        self._thread.join()

    def _count(self):
        while not self._stop.wait(0.001):
            elapsed_s = time.monotonic() - self.start_s
            for number, zone in enumerate(("intel-rapl:0", "intel-rapl:1")):
                if zone not in self._still and zone not in self._mirrors:
                    self._write(zone, int(1e8 * elapsed_s) + 1_000_000 + 7_000_000 * number)

    def _write(self, zone, energy_uj):
        new = self.root / zone / "new"
        new.write_text(f"{energy_uj}\n")
        new.replace(self.root / zone / "energy_uj")
