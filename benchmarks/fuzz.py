"""Whether any study file or record brings greencv down, keeps it busy or makes it write elsewhere.

    .venv/bin/python benchmarks/fuzz.py [--examples 10000]

Half of the examples are study files: real ones with fields dropped, renamed or replaced by values
of every kind, with bytes changed, and texts of YAML's own signs. The other half are records of a
study that is trained first, changed in the same ways. Each is read as greencv reads it, and study
files are planned, and records become tables. What counts is anything but an answer or an error of
one line a problem (``tracebacks``), what takes longer than a second (``hangs``) and each file that
is created or changed outside the folder of the output (``files_outside``). Takes about three
minutes. The last line is JSON.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # not this folder, whose statistics.py would hide the standard library's

from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

ENDED_AFTER_S = 10
"""A check that does not come to an end."""
LISTED = 500
"""Records that ``greencv runs list`` is given at the end."""
console = Console(width=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=10_000, help="study files and records")
    parser.add_argument("--seed", type=int, default=2022, help="of what is drawn")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="greencv-fuzz-") as name:
        told = fuzz(Path(name).resolve(), asked.examples, asked.seed)
    print(json.dumps(told))
    return 1 if told["tracebacks"] or told["hangs"] or told["files_outside"] else 0


def fuzz(folder, examples, drawn_from):
    output, here = folder / "output", folder / "home" / "here"
    for made in (output, here):
        made.mkdir(parents=True)
    store = output / "runs"
    console.print("training the smoke study for its records")
    greencv("run", "smoke", "--store", store)
    os.environ["HOME"] = str(folder / "home")
    os.environ["XDG_CACHE_HOME"] = str(output / "cache")
    os.environ["GREENCV_DATASETS"] = str(folder / "home" / "datasets")
    os.chdir(here)
    # Imported now, so that no library takes another home for granted.
    from tests.support import fuzzed

    before = fuzzed.everything_below(folder) | fuzzed.everything_below(ROOT / "studies")
    records = [path.read_bytes() for path in sorted(store.glob("*.json"))]
    watch, errors, told = fuzzed.Watch(), Counter(), {}
    table = Table("", "Read", "Told in lines", "Tracebacks", "Hangs", "Slowest, s", title="Fuzzing")
    path, kept = output / "study.yaml", []

    def study(written):
        path.write_bytes(written)
        return lambda: fuzzed.check_study(path)

    def record(written):
        if len(kept) < LISTED:
            kept.append(written)
        where = f"runs/{fuzzed.run_id_of(written)}.json"
        return lambda: fuzzed.check_record(where, written)

    for what, strategy, prepare in (
        ("study_files", fuzzed.study_files(), study),
        ("records", fuzzed.record_files(records), record),
    ):
        outcomes, watch.slowest_s, hangs = Counter(), 0.0, watch.hangs
        every_example(strategy, prepare, examples // 2, drawn_from, watch, outcomes, errors)
        told[what] = sum(outcomes.values())
        told["slowest_s"] = round(max(told.get("slowest_s", 0.0), watch.slowest_s), 3)
        table.add_row(
            what.replace("_", " "), f"{outcomes['read']:,}", f"{outcomes['told']:,}",
            str(outcomes["traceback"]), str(watch.hangs - hangs), f"{watch.slowest_s:.3f}",
        )  # fmt: skip
    errors.update(listing(output / "listed", kept))
    after = fuzzed.everything_below(folder) | fuzzed.everything_below(ROOT / "studies")
    outside = sorted(p for p in fuzzed.changed(before, after) if not p.startswith(str(output)))
    console.print(table)
    for error, times in errors.most_common(10):
        console.print(f"{times} x {error}", markup=False, soft_wrap=True)
    for place in outside:
        console.print(f"outside: {place}", markup=False, soft_wrap=True)
    return {
        "study_files": told["study_files"],
        "records": told["records"],
        "tracebacks": sum(errors.values()),
        "hangs": watch.hangs,
        "files_outside": len(outside),
        "slowest_s": told["slowest_s"],
    }


def every_example(strategy, prepare, examples, drawn_from, watch, outcomes, errors):
    """Check each example; count what goes wrong rather than stop at it."""

    @seed(drawn_from)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def check(written):
        run = prepare(written)
        try:
            with watch(), ended():
                outcomes["read" if run() else "told"] += 1
        except Exception as error:
            outcomes["traceback"] += 1
            last = traceback.extract_tb(error.__traceback__)[-1]
            errors[f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"] += 1
            if errors.total() <= 5:
                console.print(f"{written[:2000]!r}\n{error!r}", markup=False, soft_wrap=True)

    check()


@contextlib.contextmanager
def ended():
    """End what does not end by itself."""

    def stop(*_):
        raise TimeoutError(f"no end after {ENDED_AFTER_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(ENDED_AFTER_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def listing(folder, written):
    """Return what goes wrong where such records are listed."""
    from tests.support.fuzzed import run_id_of

    folder.mkdir()
    for number, content in enumerate(written):
        name = f"{number:016x}"
        (folder / f"{name}.json").write_bytes(
            content.replace(run_id_of(content).encode(), name.encode())
        )
    done = greencv("runs", "list", "--store", folder, check=False)
    good = done.returncode in (0, 3) and "Traceback" not in done.stderr
    return [] if good else [f"greencv runs list: {done.returncode}: {done.stderr[-2000:]}"]


def greencv(*arguments, check=True):
    return subprocess.run(
        [str(Path(sys.executable).with_name("greencv")), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=check,
        cwd=ROOT,
    )


if __name__ == "__main__":
    sys.exit(main())
