"""What is missing and the command that helps, on trees of made-up computers."""

from dataclasses import replace

import pytest

from greencv_core.metering.advice import Surroundings, find_advice, look_around
from greencv_core.metering.discovery import Discovery
from greencv_core.metering.sources.rapl import RaplSource

NOTHING = Discovery((), (), {})
BARE = Surroundings(
    system="Linux",
    processor="x86_64",
    rapl_reason="no RAPL counter",
    container=False,
    virtual=False,
    gpu_vendors=frozenset(),
    gpu_devices=frozenset(),
    packages=frozenset(),
)
NVIDIA, AMD = frozenset({"0x10de"}), frozenset({"0x1002"})


@pytest.mark.parametrize(
    ("component", "changes", "command"),
    [
        ("cpu", {"rapl_reason": "RAPL can only be read by root; run: x"}, "sudo chmod a+r /sys/"),
        ("cpu", {}, "sudo modprobe intel_rapl_msr"),
        ("cpu", {"container": True}, "docker run -v /sys/class/powercap/intel-rapl:/powercap:ro"),
        ("cpu", {"virtual": True, "container": True}, ""),
        ("cpu", {"processor": "aarch64"}, ""),
        ("cpu", {"system": "Windows", "processor": "AMD64"}, ""),
        ("cpu", {"system": "Darwin"}, "pip install zeus-apple-silicon"),
        ("cpu", {"system": "Darwin", "packages": frozenset({"zeus_apple_silicon"})}, ""),
        ("gpu", {"gpu_vendors": NVIDIA}, "sudo ubuntu-drivers install"),
        ("gpu", {"gpu_vendors": NVIDIA, "container": True}, "docker run --gpus all ..."),
        ("gpu", {"gpu_vendors": AMD, "container": True}, "docker run --device /dev/kfd"),
        ("gpu", {"gpu_vendors": AMD, "gpu_devices": frozenset({"amd"})}, "pip install amdsmi"),
    ],
)
def test_each_machine_gets_the_one_command_that_helps(component, changes, command):
    advice = {one.component: one for one in find_advice(NOTHING, replace(BARE, **changes))}
    assert advice[component].command.startswith(command)
    assert bool(advice[component].command) is bool(command)
    assert advice[component].missing


def test_nothing_is_said_of_a_component_that_is_metered():
    found = Discovery((RaplSource("cpu", []),), (), {})
    assert find_advice(found, BARE) == []
    assert [one.component for one in find_advice(NOTHING, BARE)] == ["cpu"]


def test_the_rule_for_reboots_is_complete():
    here = replace(BARE, rapl_reason="RAPL can only be read by root")
    [advice] = find_advice(NOTHING, here)
    assert advice.lasting_command == (
        """echo 'ACTION!="remove", SUBSYSTEM=="powercap", KERNEL=="*-rapl:*", """
        """RUN+="/bin/chmod a+r %S%p/energy_uj"' | """
        "sudo tee /etc/udev/rules.d/70-greencv-rapl.rules"
    )


def make_pci(root, vendor, device_class):
    path = root / "sys" / "bus" / "pci" / "devices" / f"0000:{vendor}:{device_class}"
    path.mkdir(parents=True)
    (path / "vendor").write_text(vendor + "\n")
    (path / "class").write_text(device_class + "\n")


def test_what_a_computer_has_is_found_in_its_files(tmp_path, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    make_pci(tmp_path, "0x1002", "0x120000")  # MI300X: a processing accelerator
    make_pci(tmp_path, "0x8086", "0x020000")  # a network card
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text("flags\t: fpu vme\n")
    here = look_around(Discovery((), (), {"rapl": "reason"}), tmp_path)
    assert here.gpu_vendors == AMD
    assert (here.container, here.virtual, here.gpu_devices) == (False, False, frozenset())
    assert here.rapl_reason == "reason"
    (tmp_path / "proc" / "cpuinfo").write_text("flags\t: fpu hypervisor vme\n")
    (tmp_path / ".dockerenv").touch()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "kfd").touch()
    here = look_around(NOTHING, tmp_path)
    assert (here.container, here.virtual, here.gpu_devices) == (True, True, {"amd"})
