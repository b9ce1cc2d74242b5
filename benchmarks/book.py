"""What the report costs: from nothing, from filled caches, unchanged, and with one page changed.

    .venv/bin/python benchmarks/book.py

Builds the report of the bundled runs in a clone of this checkout, so nothing here changes. The
published data are downloaded first (or set GREENCV_DATA). Processor time is that of all processes.
Takes about four minutes on two cores. The last line is JSON.
"""

from search_path import ROOT

# isort: split
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from rich.console import Console

from benchmarks.output import new_table, show_progress

BUNDLE = "bundles/reference.parquet"
CHANGED = "notebooks/decision.ipynb"
console = Console(width=100)


def main():
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        variables = {"XDG_CACHE_HOME": f"{folder}/cache", "PYTHONPATH": str(clone)}
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once, as usual
        fetch_published(clone, variables)
        spent = {name: build(clone, variables, name) for name in CHANGES}
    show_progress("")
    table = new_table("Report of the bundled runs", ["What"], ["Processor (s)", "Elapsed (s)"])
    for name, (used_s, took_s) in spent.items():
        table.add_row(name, f"{used_s:.1f}", f"{took_s:.1f}")
    console.print(table)
    figures = {
        name: {"processor_s": round(used_s, 2), "elapsed_s": round(took_s, 2)}
        for name, (used_s, took_s) in spent.items()
    }
    print(json.dumps(figures))


def greencv(clone, variables, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "greencv_core", *arguments],
        cwd=clone, env=os.environ | variables, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"error: greencv {' '.join(arguments)}: {done.stderr}")


def fetch_published(clone, variables):
    show_progress("downloading the published data")
    greencv(clone, variables, "evidence", "bundle", "--output", f"{clone}.parquet")


def build(clone, variables, name):
    """Return the processor time of a build, and how long it took, both in s."""
    show_progress(f"building the report: {name}")
    CHANGES[name](clone)
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    greencv(clone, variables, "book", "--runs", BUNDLE)
    took_s, after = time.monotonic() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, took_s


def change_nothing(clone):
    """Leave the clone as it is."""


def forget_pages(clone):
    """Have each page be made again; what the pages share stays in the caches."""
    for page in (clone / "book" / "notebooks").glob("*.ipynb"):
        page.unlink()


def change_notebook(clone):
    notebook = nbformat.read(clone / CHANGED, as_version=4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("One more sentence."))
    nbformat.write(notebook, clone / CHANGED)


CHANGES = {
    "caches empty": change_nothing,
    "caches filled": forget_pages,
    "nothing changed": change_nothing,
    "one notebook changed": change_notebook,
}
"""What is changed before each build, in their order."""

if __name__ == "__main__":
    main()
