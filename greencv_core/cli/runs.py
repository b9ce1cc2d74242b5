"""``greencv runs`` and ``greencv bundle``: list, show, export, merge and pack run records."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from greencv_core.cli import console
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import count

if TYPE_CHECKING:
    import pandas as pd

    from greencv_core.records.store import Damaged


class ExportFormat(StrEnum):
    """File formats of the runs table."""

    csv = "csv"
    parquet = "parquet"
    json = "json"


def list_runs(store: console.StoreOption = None, as_json: console.JsonOption = False) -> None:
    """List the runs of the store, one line each."""
    frame, damaged = _load_table(store)
    if as_json:
        runs = json.loads(frame.to_json(orient="records"))
        files = [{"path": file.where, "reason": file.reason} for file in damaged]
        console.print_json({"runs": runs, "damaged": files})
        return
    if frame.empty:
        console.out.print("no runs yet: train some with greencv run")
        return
    # 80 columns hold it: the first half of an id is enough for `runs show`.
    studies = ", ".join(dict.fromkeys(frame["study"]))
    table = console.borderless_table(f"{count(len(frame), 'run')} of {studies}")
    for heading in ("Run", "Architecture", "Environment"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "Run")
    for heading in ("Rep.", "Time", "Energy", "F1"):
        table.add_column(heading, justify="right")
    for row in frame.to_dict("records"):
        table.add_row(*_cells(row))
    console.out.print(table)
    console.out.print("mea. = measured, sam. = sampled, est. = estimated")


def _cells(row: dict[Any, Any]) -> list[str]:
    finished = row["status"] == "finished"
    energy = "incomplete" if finished else ""
    if row["energy_j"] == row["energy_j"]:  # not NaN
        energy = f"{row['energy_j']:.0f} J {row['provenance'][:3]}."
    return [
        row["run_id"][:8],
        escape(row["architecture"]),
        escape(str(row["environment"])),
        str(row["repetition"] + 1),
        f"{row['duration_s']:.1f} s" if finished else row["status"],
        energy,
        f"{row['f1_macro']:.3f}" if finished and row["f1_macro"] == row["f1_macro"] else "",
    ]


def show_run(
    run_id: Annotated[
        str,
        typer.Argument(
            help="A run's id, or its first characters; a published run's begins with its source.",
            metavar="RUN",
        ),
    ],
    store: console.StoreOption = None,
) -> None:
    """Print one run as JSON: its whole record, or the row of a published run.

    Without --store, the project's bundles are searched after the default store.
    """
    found = _published_runs(run_id, store) if "/" in run_id else _records(run_id, store)
    if len(found) != 1:
        problem = f"{len(found)} runs begin so" if found else "no such run"
        names = "the page Explore" if "/" in run_id else "greencv runs list"
        raise BadInputError(f"{run_id}: {problem}; {names} lists the runs")
    console.print_json(found[0])


def _records(run_id: str, store: str | None) -> list[dict[str, Any]]:
    """Return the records whose id begins so, of the first store that has any."""
    from greencv_core.records.backends.bundle import shipped_bundles
    from greencv_core.records.record import RunRecord

    for location in [store] if store else [None, *map(str, shipped_bundles().values())]:
        records = console.open_store(location)
        ids = [one for one in records.run_ids() if one.startswith(run_id)]
        matches = [record for record in records.load_all(ids) if isinstance(record, RunRecord)]
        if matches:
            return [record.model_dump(mode="json") for record in matches]
    return []


def _published_runs(run_id: str, store: str | None) -> list[dict[str, Any]]:
    """Return the rows of published runs whose id is this one, or else begins so."""
    from greencv_core.published.evidence_bundle import read_evidence, shipped_evidence

    path = Path(store) if store else shipped_evidence()
    table, _ = read_evidence(path, run_id.partition("/")[0])
    exact = table[table["run_id"] == run_id]
    rows = exact if len(exact) else table[table["run_id"].str.startswith(run_id)]
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in json.loads(rows.to_json(orient="records"))
    ]


def export_runs(
    file_format: Annotated[
        ExportFormat, typer.Option("--format", help="File format.")
    ] = ExportFormat.csv,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: standard output."),
    ] = None,
    store: console.StoreOption = None,
) -> None:
    """Write the runs table: one row a run, the unit in each column's name."""
    frame = _load_table(store)[0]
    if file_format is ExportFormat.parquet:
        if output is None:
            raise BadInputError("parquet is binary: name a file with --output")
        console.write_file(output, frame.to_parquet(index=False))
        return
    text = (
        frame.to_csv(index=False)
        if file_format is ExportFormat.csv
        else frame.to_json(orient="records", indent=2) + "\n"
    )
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        console.write_file(output, text.encode())


def merge_runs(
    sources: Annotated[
        list[str],
        typer.Argument(help="Folders or URLs of run records to copy from.", metavar="SOURCE"),
    ],
    store: console.StoreOption = None,
) -> None:
    """Copy the runs of other machines' stores into this one.

    Where several stores have the same run, the finished and complete record is kept, else the one
    that started earlier. Each such conflict is printed and the exit code is then 3, as it is where
    files are damaged. The sources are not changed, and the command may be repeated.
    """
    from greencv_core.records.merge import merge

    with console.err.status("reading the run records"):
        merged = merge(sources, console.open_store(store))
    for conflict in merged.conflicts:
        console.warn("conflict", conflict.describe())
    console.warn_of_damage(merged.damaged)
    kept = f", {len(merged.kept)} kept over worse ones" if merged.kept else ""
    console.print_text(
        f"{count(len(merged.copied), 'run')} copied, {len(merged.same)} the same already, "
        f"{len(merged.replaced)} replaced worse ones{kept}"
    )
    raise typer.Exit(3 if merged.conflicts or merged.damaged else 0)


def bundle(
    study: console.StudyArgument = "quick",
    store: console.StoreOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write; its name ends in .parquet. Default: the study's name, here.",
        ),
    ] = None,
) -> None:
    """Pack the runs of a study into one small file, from which the report is built anywhere.

    It holds the unchanged records, the study, and the runs table for readers of Parquet. greencv
    book --runs builds the report from it. Files that are not records are left out; the exit code
    is then 3.
    """
    from greencv_core.records.pack import LICENCE, check_name, pack, write
    from greencv_core.records.source import load_study

    loaded = load_study(study)
    path = output or Path(f"{loaded.name}.parquet")
    check_name(path)
    with console.err.status("reading the run records"):
        packed = pack(loaded, console.open_store(store))
    console.warn_of_damage(packed.damaged)
    write(packed, path)
    machines = count(packed.runs["machine"].nunique(), "machine")
    provenances = packed.runs["provenance"].fillna("not metered").value_counts()
    energy = ", ".join(f"{word} in {count(n, 'run')}" for word, n in sorted(provenances.items()))
    console.print_text(
        f"{path}: {count(len(packed.runs), 'run')} of study {loaded.name} by {machines}; "
        f"energy {energy}; {len(packed.content) / 1e3:,.0f} kB, licence {LICENCE}"
    )
    for line in packed.identifying_texts[:10]:
        console.warn("may identify you", line)
    more = len(packed.identifying_texts) - 10
    if more > 0:
        console.warn("may identify you", f"and {more} more texts")
    if not packed.identifying_texts:
        console.out.print("No path in it, and no name of this user or this computer.")
    raise typer.Exit(3 if packed.damaged else 0)


def _load_table(store: str | None) -> tuple[pd.DataFrame, list[Damaged]]:
    from greencv_core.records.table_cache import cached_runs_table

    frame, damaged = cached_runs_table(console.open_store(store))
    console.warn_of_damage(damaged)
    return frame, damaged
