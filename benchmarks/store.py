"""Time and memory to make a runs table of a large store, without a cache and after a few more runs.

    .venv/bin/python benchmarks/store.py [RECORDS ...]

Writes synthetic records into a temporary folder: whole ones, as greencv writes them, with epochs,
phases and a power trace, about 8 kB each. A new process then makes the table without a cache
(``load_s``); another one makes it again after ten more records (``refresh_s``). The peak is of the
first process and those that it starts, added up. Takes about two minutes. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

SIZES = (1_000, 10_000, 100_000)
ADDED = 10
SETTLING_S = 3.0
"""Until the times of the files are old enough to be trusted."""
EPOCHS = 4
SAMPLES = 40
console = Console(width=100)


def main():
    if sys.argv[1:2] == ["--timed"]:
        print(json.dumps(timed(sys.argv[2])))
        return
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    figures = {"load_s": {}, "refresh_s": {}, "peak_rss_mb": {}}
    table = Table(
        "Records", "MB", "Without cache, s", "After ten more, s", "Peak, MB", title="Runs table"
    )
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="greencv-store-") as name:
            store, cache = Path(name) / "runs", Path(name) / "cache"
            written = fill(store, range(size))
            time.sleep(SETTLING_S)
            cold = measured(store, cache)
            fill(store, range(size, size + ADDED))
            warm = measured(store, cache)
        assert (cold["rows"], warm["rows"]) == (size, size + ADDED)
        figures["load_s"][str(size)] = round(cold["s"], 3)
        figures["refresh_s"][str(size)] = round(warm["s"], 3)
        figures["peak_rss_mb"][str(size)] = round(cold["peak_rss_mb"], 1)
        table.add_row(
            f"{size:,}", f"{written / 1e6:.0f}", f"{cold['s']:.2f}", f"{warm['s']:.2f}",
            f"{cold['peak_rss_mb']:.0f}",
        )  # fmt: skip
    console.print(table)
    print(json.dumps(figures))


def measured(store, cache):
    done = subprocess.run(
        [sys.executable, __file__, "--timed", str(store)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
    )
    if done.returncode:
        sys.exit(f"error: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def timed(folder):
    from greencv_core.records.store import Store
    from greencv_core.records.table_cache import cached_runs_table

    peak = Peak()
    started_s = time.perf_counter()
    frame, damaged = cached_runs_table(Store(folder))
    elapsed_s = time.perf_counter() - started_s
    assert not damaged
    return {"s": elapsed_s, "rows": len(frame), "peak_rss_mb": peak.end() / 2**20}


class Peak:
    """The most memory that this process and those that it starts have together."""

    def __init__(self):
        self.most, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        own = psutil.Process()
        while True:
            total = 0
            for process in [own, *own.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.most = max(self.most, total)
            if self.ended.wait(0.1):
                return

    def end(self):
        self.ended.set()
        self.thread.join()
        return self.most


def fill(folder, numbers):
    folder.mkdir(exist_ok=True)
    written = 0
    for number in numbers:
        text = json.dumps(content(number), separators=(",", ":"))
        written += (folder / f"{number:016x}.json").write_text(text)
    return written


def definition(number, part, device):
    return {
        "environment": {
            "name": f"{part}-fp32", "device": device, "threads": 1 + number % 8,
            "precision": "fp32", "memory_format": "channels_last", "compile": False,
            "batch_size": None, "workers": 0,
        },
        "dataset": {
            "name": "digits", "image_size": 32, "train_images": 1400, "validation_images": 300,
            "split_seed": 0, "classes": None,
            "augmentation": {"crop_padding": 0, "horizontal_flip": False, "brightness": 0.0},
        },
        "protocol": {
            "epochs": EPOCHS, "optimizer": "adamw", "learning_rate": 0.002, "weight_decay": 0.0,
            "schedule": "one_cycle", "batch_size": 32, "seed": 2022, "seeds": "each",
            "repetitions": 30, "idle_s": 1.0, "warmup_s": 0.0, "cooldown_s": 0.0,
        },
        "carbon": {"country": "ESP", "intensity_gco2e_per_kwh": None},
        "machine": {
            "cpu_model": "AMD EPYC", "cpu_count": 8, "memory_bytes": 25276063744,
            "accelerators": [], "system": "Linux-6.1-x86_64-with-glibc2.36",
            "accelerator_problem": "", "fingerprint": f"{number % 11:08x}",
        },
    }  # fmt: skip


def window(number, name, start_s, end_s):
    part = "gpu" if number % 2 else "cpu"
    energy = {
        "energy_j": 50.0 * (end_s - start_s) + number % 97 / 7,
        "provenance": "measured",
        "source": "NVML total energy counter" if number % 2 else "RAPL package",
        "uncertainty_j": 0.25,
        "resolution_s": 0.1,
    }
    ram = {**energy, "provenance": "estimated", "source": "CodeCarbon: constant 20 W"}
    components = {part: energy, "ram": ram}
    return {"name": name, "start_s": start_s, "end_s": end_s, "components": components}


def content(number):
    device = ("cpu", "cuda:0")[number % 2]
    part = "gpu" if number % 2 else "cpu"

    epochs = range(1, EPOCHS + 1)
    correctness = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "auroc_macro")
    return {
        "schema_version": 5,
        "run_id": f"{number:016x}",
        "status": "finished",
        "reason": "",
        "study": f"study-{number % 5}",
        "architecture": ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5")[number % 3],
        **definition(number, part, device),
        "repetition": number % 30,
        "order": number,
        "seed": 2022 + number % 30,
        "started_at": f"2026-01-{1 + number % 28:02}T{number % 24:02}:{number % 60:02}:00+00:00",
        "host": f"{number % 50:08x}",
        "versions": {"python": "3.11.7", "greencv": "0.1.0", "torch": "2.15.0", "numpy": "2.4.6"},
        "git_commit": "0123456789ab",
        "device_name": "AMD EPYC",
        "gflops_per_image": 0.0016,
        "parameters": 352042,
        "data_sha256": "e2" * 32,
        "epochs": [
            {
                "epoch": n, "stage": "main", "learning_rate": 0.001 / n, "train_loss": 2.4 / n,
                "validation_loss": 2.5 / n, "duration_s": 1.5, "energy_j": 75.0 + number % 13,
                **{name: 0.5 + n / 10 + number % 7 / 1000 for name in correctness},
            }
            for n in epochs
        ],
        "ended_by": "epochs",
        "final_epoch": EPOCHS,
        "images_processed": 1700 * EPOCHS,
        "duration_s": 1.5 * EPOCHS,
        "total": window(number, "run", 0.0, 1.5 * EPOCHS),
        "phases": [
            window(number, f"epoch {n} {what}", 1.5 * n, 1.5 * n + 0.7)
            for n in epochs
            for what in ("training", "validation")
        ],
        "idle_power_w": {part: 12.5, "ram": 20.0},
        "net_energy_j": 200.0 + number % 17,
        "emissions_gco2e": 0.01,
        "carbon_intensity_gco2e_per_kwh": 174.0,
        "device_utilization_pct": 80.0,
        "problems": [],
        "trace": {
            kind: {
                c: [scale * i + (number % 19) / 3 for i in range(SAMPLES)] for c in (part, "ram")
            }
            for kind, scale in (("time_s", 0.15), ("power_w", 1.3))
        },
    }  # fmt: skip


if __name__ == "__main__":
    main()
