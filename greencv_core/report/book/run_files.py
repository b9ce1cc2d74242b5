"""Files of single runs beside the pages: a page and the record of each, and the bundle of all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from importlib import metadata
from itertools import islice
from pathlib import Path

import vl_convert

from greencv_core.published.evidence_bundle import shipped_evidence
from greencv_core.records.pack import pack
from greencv_core.records.record import RunRecord
from greencv_core.records.store import RecordFile, Store
from greencv_core.report.book.number_exhibits import RunLinks
from greencv_core.report.pages.run import BUNDLE, run_page, run_title
from greencv_core.study.schema import Study

MOST_PAGES = 1000
"""Runs that have a page and a record of their own; the bundle has them all."""
PAGES = "run_pages.json"
"""File among the sources with title and HTML of each run's page, for the book's extension."""
RUN_SETS = "run_sets.js"
VEGA = "vega.js"
FOLDER = "runs"
_VEGA_NOTICE = "Vega, Vega-Lite and Vega-Embed (BSD-3-Clause), https://vega.github.io"


def write_run_files(
    source: Path,
    files: Path,
    *,
    study: Study,
    store: Store,
    records: Sequence[RunRecord],
    log: Callable[[str], None],
) -> list[str]:
    """Write the runs' records, the bundle, and the sources of the runs' pages.

    Returns
    -------
    list of str
        Ids of the runs that have a page.
    """
    folder = files / FOLDER
    folder.mkdir(parents=True)
    shown = {record.run_id: record for record in islice(records, MOST_PAGES)}
    for file in store.load_files(shown):
        if isinstance(file, RecordFile):
            (folder / f"{file.record.run_id}.json").write_bytes(file.content)
    pages = {
        run_id: {"title": run_title(record), "body": run_page(record)}
        for run_id, record in shown.items()
    }
    (source / PAGES).write_text(json.dumps(pages), encoding="utf-8")
    _write_bundle(files / BUNDLE, study, store, log)
    if shipped_evidence().is_file():
        shutil.copy(shipped_evidence(), files)
    return list(shown)


def _write_bundle(path: Path, study: Study, store: Store, log: Callable[[str], None]) -> None:
    if store.is_bundle:
        shutil.copyfile(store.location, path)
        return
    packed = pack(study, store)
    path.write_bytes(packed.content)
    for text in packed.identifying_texts[:3]:
        log(f"the records beside the pages may identify you: {text}")


def write_run_sets(static: Path, links: RunLinks, run_pages: Sequence[str]) -> None:
    """Write the sets of runs that pages link, a script of the page Explore.

    A set has its size, and the runs that the page draws, by their places in its data.
    """
    places = {run_id: place for place, run_id in enumerate(links.drawn)}
    known = {
        "sets": {
            digest: {
                "size": len(run_ids),
                "drawn": _ranges([places[run_id] for run_id in run_ids if run_id in places]),
            }
            for digest, run_ids in links.sets.items()
        },
        "pages": list(run_pages),
    }
    text = json.dumps(known, separators=(",", ":")).replace("<", "\\u003c")
    (static / RUN_SETS).write_text(f"window.greencvRuns = {text};\n", encoding="utf-8")


def write_vega(static: Path, cache: Path) -> None:
    """Write the script of Vega, with which the page Explore draws."""
    package = metadata.version("vl-convert-python")
    bundled = cache / f"vega-{vl_convert.get_vega_version()}-{package}.js"
    if not bundled.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
        # A module's names are its own; a script from a disk cannot be a module.
        text = f'// {_VEGA_NOTICE}\n(() => {{"use strict";\n{script}\n}})();\n'
        bundled.write_text(text, "utf-8")
    shutil.copyfile(bundled, static / VEGA)


def _ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Return numbers as ranges, each the first number and the number after the last."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number:
            ranges[-1][1] += 1
        else:
            ranges.append([number, number + 1])
    return ranges
