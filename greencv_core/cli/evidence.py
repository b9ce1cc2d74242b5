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

evidence_app = typer.Typer(help="Check a table of your own measurements.", no_args_is_help=True)


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


evidence_app.command(epilog="Example: greencv evidence check runs.csv")(check)
