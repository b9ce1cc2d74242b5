"""``greencv reanalyse``: the original study's published data, analysed again."""

from __future__ import annotations

from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from greencv_core.cli import console
from greencv_core.utils.text import percent


def reanalyse(as_json: console.JsonOption = False) -> None:
    """Analyse the published measurements of del Rey et al. (SEAA 2023) again.

    They are downloaded once (139 MB) and checked by hash. $GREENCV_DATA names a folder with the
    files, or a mirror. Missing or damaged files are listed, and the others are analysed. The exit
    code is then 3.
    """
    from greencv_core.published.seaa2023.reanalysis import load_reanalysis
    from greencv_core.published.seaa2023.summary import summary
    from greencv_core.run.progress import file_progress
    from greencv_core.utils.downloads import summarise_problems

    with file_progress(console.err, "published data") as progress:
        reanalysis = load_reanalysis(progress)
    for problem in summarise_problems(reanalysis.problems):
        console.warn("left out", problem)
    with console.err.status("comparing every published figure with ours"):
        content = summary(reanalysis)
    if as_json:
        console.print_json(content)
    else:
        _print_reanalysis(content)
    raise typer.Exit(3 if reanalysis.problems else 0)


def _print_reanalysis(content: dict[str, Any]) -> None:
    claims = content["claims"]
    printed = claims["by_source"]["printed"]
    for key, which in (
        ("headline", "without the runs removed by hand"),
        ("headline_all_runs", "with all runs"),
    ):
        title = f"Largest saving of energy per image, {which}"
        console.out.print(_savings_table(title, content[key]))
        console.out.print()
    unknown = claims["not_known"]
    console.out.print(
        f"{printed['agreeing']} of {printed['figures']} printed figures are reproduced, and "
        f"{claims['agreeing'] - printed['agreeing']} of {claims['figures'] - printed['figures']} "
        "from its plots and data"
        + (f" ({unknown} need files that were left out)" if unknown else "")
        + "; see the report's page on the re-analysis.",
        soft_wrap=True,
    )
    console.out.print(content["data"]["logs"], soft_wrap=True, highlight=False)


def _savings_table(title: str, rows: dict[str, Any]) -> Table:
    table = console.borderless_table(title)
    for heading in ("Energy", "Of medians", "Of means", "95% interval", "By", "Against"):
        side: Any = "right" if heading.startswith("Of") else "left"
        table.add_column(heading, justify=side, no_wrap=heading not in ("By", "Against"))
    for name, row in rows.items():
        label = name.replace("_", " ")
        if row["saving"] is None:
            table.add_row(label, "unknown", escape(row["reason"]))
            continue
        ends = (escape(" ".join(row[end].values())) for end in ("to", "from"))
        interval = f"{100 * row['ci_low']:.1f} to {percent(row['ci_high'])}"
        of_medians, of_means = (percent(row[key], 2) for key in ("of_medians", "saving"))
        table.add_row(label, of_medians, of_means, interval, *ends)
    return table
