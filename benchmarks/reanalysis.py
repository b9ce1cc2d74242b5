"""How fast raw logs become a runs table: greencv, the original's method, and the bare parse.

    GREENCV_DATA=folder .venv/bin/python benchmarks/reanalysis.py

Reads the published raw logs (download them first by ``greencv reanalyse``, or name their folder).
The original's method is written anew from its description: one read by pandas' Python parser for
each file, a regular expression for each value, the processor's log joined by the nearest time. The
bare parse is pyarrow's of the same bytes, into strings. Each in a process of its own, alternating;
the first round, which warms the disk's cache, does not count. Takes about three minutes. The last
line is JSON.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

ROUNDS = 3
WAYS = ("greencv", "bare parse", "original")
console = Console(width=100)


def main():
    if len(sys.argv) > 1:
        print(json.dumps(timed(sys.argv[1])))
        return
    told = {way: [] for way in WAYS}
    for number in range(ROUNDS + 1):
        for way in WAYS:
            print(f"\rround {number}: {way}          ", end="", file=sys.stderr, flush=True)
            done = subprocess.run(
                [sys.executable, __file__, way], capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(f"error: {way} failed: {done.stderr[-500:]}")
            if number:
                told[way].append(json.loads(done.stdout.splitlines()[-1]))
    print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    report(told)


def timed(way):
    files = logs()
    begun_s = time.perf_counter()
    rows = {"greencv": ours, "bare parse": bare, "original": original}[way](files)
    return {
        "s": time.perf_counter() - begun_s,
        "rows": rows,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def logs():
    from greencv_core.published import adapter
    from greencv_core.published.download import fetch

    release = adapter("seaa2023").RELEASE.some(lambda path: path.endswith(".csv"))
    return dict(fetch(release).files)


def ours(files):
    from greencv_core.published.seaa2023_logs import raw_runs

    return len(raw_runs(files).runs)


def bare(files):
    """Parse the same bytes, two files at a time, and keep nothing."""
    from concurrent.futures import ThreadPoolExecutor

    from pyarrow import csv

    def parse(path):
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False, block_size=1 << 22),
            parse_options=csv.ParseOptions(invalid_row_handler=lambda row: "skip"),
        )
        return table.num_rows

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return sum(pool.map(parse, files.values()))


def original(files):
    import re

    import pandas as pd

    digits = re.compile(r"\d+")

    def whole(text):
        return int(digits.search(text).group())

    columns = ["timestamp", "name", "gpu", "memory", "total", "used", "power", "limit", "celsius"]
    converters = dict.fromkeys(["gpu", "memory", "total", "used", "power", "limit"], whole)
    gpu_logs = sorted(path for path in files if "gpu-power" in path)
    frames = []
    for path in gpu_logs:
        gpu = pd.read_csv(
            files[path], engine="python", skiprows=4, skipfooter=3, names=columns,
            converters=converters,
        )  # fmt: skip
        gpu["timestamp"] = pd.to_datetime(gpu["timestamp"])
        cpu = pd.read_csv(files[path.replace("gpu-power", "cpu-mem-usage")], engine="python")
        cpu["timestamp"] = pd.to_datetime(cpu["timestamp"], errors="coerce")
        cpu = cpu.dropna(subset="timestamp")
        joined = pd.merge_asof(
            gpu.sort_values("timestamp"), cpu.sort_values("timestamp"), on="timestamp",
            direction="nearest", tolerance=pd.Timedelta("1s"),
        )  # fmt: skip
        joined["run"] = path
        frames.append(joined)
    every = pd.concat(frames)
    table = every.groupby("run").agg({"gpu": "mean", "used": "mean", "power": "sum"})
    table["energy_j"] = [
        np.trapezoid(run["power"], run["timestamp"].astype("int64") / 1e9)
        for _, run in every.groupby("run")
    ]
    return len(table)


def report(told):
    seconds = {way: float(np.median([t["s"] for t in told[way]])) for way in WAYS}
    table = Table(title=f"618 raw logs to a runs table, medians of {ROUNDS}", title_justify="left")
    for heading in ("Method", "Time (s)", "greencv takes", "Peak memory (MB)"):
        table.add_column(heading, justify="left" if heading == "Method" else "right")
    for way in WAYS:
        ratio = seconds[way] / seconds["greencv"]
        shown = f"1/{ratio:.1f} of it" if ratio > 1 else f"{1 / ratio:.2f} times it"
        peak = max(t["peak_rss_mb"] for t in told[way])
        table.add_row(way, f"{seconds[way]:.2f}", "" if way == WAYS[0] else shown, f"{peak:.0f}")
    console.print(table)
    figures = {
        "speedup_vs_original": seconds["original"] / seconds["greencv"],
        "times_bare_parse": seconds["greencv"] / seconds["bare parse"],
        "peak_rss_mb": max(t["peak_rss_mb"] for t in told["greencv"]),
        "runs": told["greencv"][0]["rows"],
    }
    console.print(json.dumps(figures), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
