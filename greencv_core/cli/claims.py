"""``greencv claims``: the original study's claims, on published measurements or on one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from greencv_core.cli import console
from greencv_core.utils.text import count, number, percent

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = 5
"""Sources side by side in 80 columns."""
_SAVINGS = ("largest_saving",)
_ABSENT = "\N{EN DASH}"


def claims(
    tables: Annotated[
        list[str] | None,
        typer.Argument(
            help="Evidence tables: CSV files, bundles, or stores of run records. Default: the "
            "published data sets.",
            metavar="TABLE",
        ),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="With tables: add the published data sets.")
    ] = False,
    as_json: console.JsonOption = False,
) -> None:
    """Test the claims of del Rey et al. on measured energy: five published data sets, or yours.

    Only your tables are tested, and nothing is downloaded; --published adds the published data
    sets. Each claim holds, holds in part, does not hold, is not shown, or cannot be tested
    (a dash); --json says why. If a published data set is not available, the others are tested, and
    the exit code is 3.
    """
    from greencv_core.published.evidence_sources import load_tables
    from greencv_core.published.evidence_summary import summarise

    with console.err.status("reading the tables"):
        own = load_tables(tables or ())
    found, complete = _published() if published or not own else ({}, True)
    with console.err.status("testing every claim"):
        content = summarise({**found, **own})
    if as_json:
        console.print_json(content)
    else:
        _print(content)
    raise typer.Exit(0 if complete else 3)


def _published() -> tuple[dict[str, pd.DataFrame], bool]:
    """Return the published data sets that are available, and whether all are."""
    from greencv_core.published import DATA_SETS, DataUnavailableError, smallest_first
    from greencv_core.published.evidence import FROM_BUNDLE, ORIGIN, load_evidence
    from greencv_core.run.progress import file_progress

    found: dict[str, pd.DataFrame] = {}
    for name in smallest_first(DATA_SETS):
        try:
            with file_progress(console.err, name) as progress:
                found |= load_evidence([name], progress)
        except DataUnavailableError as unavailable:
            console.warn("left out", f"{name}: {str(unavailable).partition(chr(10))[0]}")
            continue
        if found[name].attrs[FROM_BUNDLE]:
            console.print_note(found[name].attrs[ORIGIN])
    return {name: found[name] for name in DATA_SETS if name in found}, len(found) == len(DATA_SETS)


def _print(content: dict[str, Any]) -> None:
    from greencv_core.published.claims import by_chance

    sources = content["sources"]
    names = list(sources)
    for begin in range(0, len(names), COLUMNS):
        _print_matrix({name: sources[name] for name in names[begin : begin + COLUMNS]})
    verdicts = [c["verdict"] for source in sources.values() for c in source["claims"].values()]
    console.print_text(by_chance(sum(verdict != "cannot be tested" for verdict in verdicts)))
    for name, source in sources.items():
        reasons = ", ".join(f"{n} ({why})" for why, n in source["left_out"].items())
        console.print_text(
            f"{name}: {count(source['runs'], 'run')}, {count(source['conditions'], 'condition')}"
            + (f"; left out: {reasons}" if reasons else "")
        )
    if len(names) == 1:
        _print_reasons(sources[names[0]]["claims"])
    scaling = content["pooled"]["hardware_scaling"]
    if scaling["mean"] is not None:
        low, high, least, most = (
            _signed(scaling[name])
            for name in ("ci_low", "ci_high", "prediction_low", "prediction_high")
        )
        console.print_text(
            f"Hardware scaling, pooled over {len(scaling['effects'])} pairs: energy on the larger "
            f"/ the smaller hardware changes with GFLOPs to the power of "
            f"{_signed(scaling['mean'])} (95% interval {low} to {high}, prediction interval {least}"
            f" to {most}, Q = {number(scaling['q'])}, I\N{SUPERSCRIPT TWO} = "
            f"{percent(scaling['i_squared'], 0)})."
        )


def _print_matrix(sources: dict[str, Any]) -> None:
    from greencv_core.published.claims import claim_texts

    table = console.borderless_table("Claims, and what each source shows of them")
    table.padding = (0, 1, 0, 0)
    table.add_column("Claim", min_width=16)
    for name in sources:
        table.add_column(escape(name), max_width=11, overflow="fold")
    for key, claim in claim_texts().items():
        cells = [_cell(key, source["claims"][key]) for source in sources.values()]
        table.add_row(escape(claim.partition(":")[0]), *cells)
    console.out.print(table)


def _cell(key: str, claim: dict[str, Any]) -> str:
    if claim["verdict"] == "cannot be tested":
        return _ABSENT
    figure = claim["figure"]
    if figure is None:
        return str(claim["verdict"])
    shown = f"{100 * figure:.1f}%" if key in _SAVINGS else _signed(figure)
    return f"{claim['verdict']}\n[dim]{shown}[/]"


def _print_reasons(claims_of: dict[str, Any]) -> None:
    for claim in claims_of.values():
        console.print_text(f"{claim['claim'].partition(':')[0]}. {claim['explanation']}")


def _signed(value: float) -> str:
    return f"{value:z.2f}".replace("-", "\N{MINUS SIGN}")
