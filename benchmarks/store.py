"""Time and memory to make a runs table of a large store, without a cache and after a few more runs.

    .venv/bin/python benchmarks/store.py [RECORDS ...]

Writes synthetic records into a temporary folder: whole ones, as greencv writes them, with epochs,
phases and a power trace, about 8 kB each (half of them of the GPU alone). A new process then makes
the table without a cache (``load_s``); another one makes it again after ten more records
(``refresh_s``). The peak is of the first process and those that it starts, added up. Takes about
two minutes. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.output import answer_of

SIZES = (1_000, 10_000, 100_000)
ADDED = 10
SETTLING_S = 3.0  # until the times of the files are old enough to be trusted
EPOCHS = 4
console = Console(width=100)


def main():
    if sys.argv[1:2] == ["--timed"]:
        print(json.dumps(timed(sys.argv[2], watched=sys.argv[3:] == ["--watched"])))
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
            cold = measured(store, cache, "--watched")
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


def measured(store, cache, *options):
    command = [sys.executable, __file__, "--timed", str(store), *options]
    return answer_of(store, command, env={**os.environ, "XDG_CACHE_HOME": str(cache)})


def timed(folder, watched):
    from greencv_core.records.store import Store
    from greencv_core.records.table_cache import cached_runs_table

    peak = Peak() if watched else None  # it would take a third of the time of a short command
    started_s = time.perf_counter()
    frame, damaged = cached_runs_table(Store(folder))
    elapsed_s = time.perf_counter() - started_s
    assert not damaged
    most = peak.end() / 2**20 if peak else None
    return {"s": elapsed_s, "rows": len(frame), "peak_rss_mb": most}


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
            if self.ended.wait(0.25):
                return

    def end(self):
        self.ended.set()
        self.thread.join()
        return self.most


def fill(folder, numbers):
    from tests.support.made_up_gpu import made_up_gpu_records

    folder.mkdir(exist_ok=True)
    templates = [
        json.loads(record.model_dump_json())
        for host in (True, False)
        for record in made_up_gpu_records(1, environments=["fp32"], epochs=EPOCHS, host=host)
    ]
    written = 0
    for number in numbers:
        clock = f"{number % 24:02}:{number % 60:02}"
        content = templates[number % len(templates)] | {
            "run_id": f"{number:016x}",
            "study": f"study-{number % 5}",
            "repetition": number % 30,
            "order": number,
            "seed": 2022 + number % 30,
            "started_at": f"2026-01-{1 + number % 28:02}T{clock}:00+00:00",
            "host": f"{number % 50:08x}",
            "net_energy_j": 200.0 + number % 97 / 7,
            "emissions_gco2e": 0.01 + number % 89 / 1000,
        }
        text = json.dumps(content, separators=(",", ":"))
        written += (folder / f"{number:016x}.json").write_text(text)
    return written


if __name__ == "__main__":
    main()
