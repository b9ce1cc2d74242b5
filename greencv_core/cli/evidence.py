"""``greencv evidence``: tables of measurements that others made, or that you bring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from greencv_core.cli import console
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import count, listed

if TYPE_CHECKING:
    import pandas as pd

evidence_app = typer.Typer(
    help="Check a table of your own measurements, or bundle the published ones.",
    no_args_is_help=True,
)


def check(
    tables: Annotated[
        list[Path],
        typer.Argument(help="CSV files with a row for each training run.", metavar="TABLE"),
    ],
) -> None:
    """Check tables of measurements, row by row, and say what is wrong.

    The columns and their units are in the guide on your own measurements. The exit code is 2 where
    a table cannot be used.
    """
    from greencv_core.published.problems import listed_problems
    from greencv_core.published.table_reading import read_and_check

    lines: list[str] = []
    for path in tables:
        try:
            checked = read_and_check(path)
        except BadInputError as error:
            lines += str(error).splitlines()
            continue
        lines += listed_problems(path, checked.problems)
        if checked.problems:
            continue
        console.print_text(f"{path}: {_contents(checked.table)}")
        absent = _absent(checked.table)
        if absent:
            console.print_text(f"  without {listed(absent)}: claims about these cannot be tested")
        if checked.ignored:
            console.print_text(f"  ignored columns: {', '.join(checked.ignored)}")
    if lines:
        raise BadInputError("\n".join(lines))


def _contents(table: pd.DataFrame) -> str:
    provenances = listed(sorted(table["provenance"].unique()))
    left_out = int((table["left_out"] != "").sum())
    return (
        f"{count(len(table), 'run')} of {count(table['architecture'].nunique(), 'architecture')} "
        f"in {count(table['environment'].nunique(), 'environment')}, energy {provenances}"
        + (f", {left_out} left out" if left_out else "")
    )


def _absent(table: pd.DataFrame) -> list[str]:
    asked = ("images_processed", "gflops_per_image", "correctness", "duration_s")
    absent = [name for name in asked if table[name].isna().all()]
    per_image = table["energy_j_per_image"].notna().any()
    return [name for name in absent if not (name == "images_processed" and per_image)]


def evidence_bundle(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="The Parquet file to write. Default: the project's bundles/published.parquet.",
        ),
    ] = None,
) -> None:
    """Derive the tables of all published data sets and write them to one Parquet file.

    All published files are needed (143 MB); missing ones are downloaded.
    """
    from greencv_core.published import DATA_SETS, METER_COMPARISONS, smallest_first
    from greencv_core.published.evidence import derive_table
    from greencv_core.published.evidence_bundle import pack_evidence, shipped_evidence
    from greencv_core.records.pack import check_name
    from greencv_core.run.progress import file_progress

    path = output or shipped_evidence()
    check_name(path)
    names = (*DATA_SETS, *METER_COMPARISONS)
    tables = {}
    for name in smallest_first(names):
        with file_progress(console.err, f"published data {name}") as progress:
            tables[name] = derive_table(name, progress)
    content = pack_evidence({name: tables[name] for name in names})
    console.write_file(path, content)
    shown = console.borderless_table(f"{path.name}: {len(content) / 1e3:.0f} kB")
    for heading in ("Data set", "Runs", "Counted"):
        shown.add_column(heading, justify="left" if heading == "Data set" else "right")
    for name in names:
        counted = int((tables[name]["left_out"] == "").sum())
        shown.add_row(name, str(len(tables[name])), str(counted))
    console.out.print(shown)


evidence_app.command(epilog="Example: greencv evidence check runs.csv")(check)
evidence_app.command("bundle", epilog="Example: greencv evidence bundle")(evidence_bundle)
