"""How fast raw logs become a runs table: greencv, the original's method, and the bare parse.

    GREENCV_DATA=folder .venv/bin/python benchmarks/reanalysis.py

Reads the published raw logs (download them first by ``greencv reanalyse``, or name their folder).
The original's method is reimplemented from its description: one read by pandas' Python parser for
each file, a regular expression for each value, the processor's log joined by the nearest time. The
bare parse is pyarrow's of the same bytes, into strings. Each in a process of its own, alternating;
the first round, which warms the disk's cache, does not count. A tenth of the logs shows whether
memory grows with their number. Takes about three minutes. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import inspect
import json
import os
import resource
import sys
import time

import numpy as np
from rich.console import Console

from benchmarks.output import answer_of, new_table, show_progress

ROUNDS = 3
WAYS = ("greencv", "bare parse", "original", "greencv, a tenth of the logs")
SAME_WITHIN = 1e-9  # relative difference of the energies that both methods give
console = Console(width=100)


def main():
    if len(sys.argv) > 1:
        print(json.dumps(timed(sys.argv[1])))
        return
    results = {way: [] for way in WAYS}
    for number in range(ROUNDS + 1):
        for way in WAYS:
            show_progress(f"round {number}: {way}")
            answer = answer_of(way, [sys.executable, __file__, way])
            if number:
                results[way].append(answer)
    show_progress("")
    report(results)


def timed(way):
    files = logs()
    if "tenth" in way:
        gpu = sorted(path for path in files if "gpu-power" in path)[::10]
        some = {*gpu, *(path.replace("gpu-power", "cpu-mem-usage") for path in gpu)}
        files = {path: file for path, file in files.items() if path in some or "raw/" not in path}
    started_s = time.perf_counter()
    method = {"bare parse": bare, "original": original}.get(way, ours)
    results = method(files)
    return {
        "s": time.perf_counter() - started_s,
        **results,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def logs():
    from greencv_core.published.seaa2023.runs import METRICS, RELEASE
    from greencv_core.utils.downloads import fetch

    return dict(fetch(RELEASE.select(lambda path: path.endswith(".csv") or path == METRICS)).files)


def ours(files):
    from greencv_core.published.seaa2023 import logs

    runs = inspect.unwrap(logs._raw_runs)(files, "").runs  # read, and not found in the cache
    return {"rows": len(runs), "energy_j": runs["energy_j_whole_watts"].sum()}


def bare(files):
    """Parse the same bytes into strings, two files at a time, and keep nothing."""
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow as pa
    from pyarrow import csv

    def parse(path):
        with path.open("rb") as file:
            columns = len(file.readline().split(b","))
        names = [str(i) for i in range(columns)]
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(
                use_threads=False, block_size=1 << 22, column_names=names, skip_rows=1
            ),
            parse_options=csv.ParseOptions(invalid_row_handler=lambda row: "skip"),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
        return table.num_rows

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        some = [path for path in files.values() if path.suffix == ".csv"]
        return {"rows": sum(pool.map(parse, some))}


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
        np.trapezoid(run["power"], run["timestamp"].astype("datetime64[ns]").astype("int64") / 1e9)
        for _, run in every.groupby("run")
    ]
    return {"rows": len(table), "energy_j": table["energy_j"].sum()}


def report(results):
    seconds = {way: float(np.median([t["s"] for t in results[way]])) for way in WAYS}
    peaks_mb = {way: max(t["peak_rss_mb"] for t in results[way]) for way in WAYS}
    title = f"618 raw logs to a runs table, medians of {ROUNDS}"
    table = new_table(title, ["Method"], ["Time (s)", "greencv takes", "Peak memory (MB)"])
    for way in WAYS:
        ratio = seconds[way] / seconds["greencv"]
        shown = f"1/{ratio:.1f} of it" if ratio > 1 else f"{1 / ratio:.2f} times it"
        alike = way.startswith("greencv")
        table.add_row(way, f"{seconds[way]:.2f}", "" if alike else shown, f"{peaks_mb[way]:.0f}")
    console.print(table)
    theirs_j, ours_j = (results[way][0]["energy_j"] for way in ("original", "greencv"))
    if abs(ours_j / theirs_j - 1) > SAME_WITHIN:
        sys.exit(f"error: the methods disagree: {ours_j} J and {theirs_j} J")
    figures = {
        "speedup_vs_original": seconds["original"] / seconds["greencv"],
        "times_bare_parse": seconds["greencv"] / seconds["bare parse"],
        "peak_rss_mb": peaks_mb["greencv"],
        "peak_rss_mb_of_a_tenth": peaks_mb[WAYS[-1]],
        "runs": results["greencv"][0]["rows"],
        "energy_difference": ours_j / theirs_j - 1,
    }
    console.print(json.dumps(figures), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
