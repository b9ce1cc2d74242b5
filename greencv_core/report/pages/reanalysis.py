"""The page on the original study's headline, and what the pages on its data have in common.

Functions return None if the data are unavailable, which the note at the top of the page explains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.figure import Figure

from greencv_core.analysis import Saving, Unavailable
from greencv_core.published.evidence import load_evidence
from greencv_core.published.seaa2023.corrected import analysed_runs
from greencv_core.published.seaa2023.history import VERSIONS, HeadlineLoss, history
from greencv_core.published.seaa2023.reanalysis import (
    CORRECTED,
    IDLE,
    VARIANTS,
    Reanalysis,
    Removals,
)
from greencv_core.published.seaa2023.runs import NAME
from greencv_core.published.seaa2023.sessions import SessionHeadline
from greencv_core.published.seaa2023.verdicts import net_saving
from greencv_core.report.exhibits.exhibit import (
    Exhibit,
    figure_exhibit,
    skip_unavailable,
    table_exhibit,
)
from greencv_core.report.exhibits.markdown import (
    Basis,
    admonition,
    paragraph,
    with_basis,
)
from greencv_core.report.exhibits.tables import collapsible_tables, show_table, to_csv_frame
from greencv_core.report.exhibits.theme import MARKERS, legend_above, subplots
from greencv_core.utils.downloads import VARIABLE, summarise_problems
from greencv_core.utils.text import count, percent

REMOVALS: dict[Removals, str] = {
    "by_hand": "Without the runs removed by hand",
    "none": "All runs",
    "rule": "Without the outliers of the rule",
}


class Answer(Protocol):
    """A result, or the reason why there is none."""

    def sentence(self) -> str:
        """Return it as a sentence."""
        ...


def corrected_runs(reanalysis: Reanalysis | Unavailable) -> pd.DataFrame:
    """Return all runs with the corrected energy: from the logs, else from the project's bundle."""
    if isinstance(reanalysis, Unavailable):
        return analysed_runs(load_evidence([NAME])[NAME])
    return reanalysis.runs(CORRECTED, "none")


def data_note(
    reanalysis: Reanalysis | Unavailable, runs: pd.DataFrame | None = None
) -> Markdown | Basis:
    """Return a line on the data of the page or, if files are missing, a box on how to get them.

    ``runs`` are those of the project's bundle, for a page that they suffice for in part.
    """
    if isinstance(reanalysis, Unavailable):
        if runs is None:
            return missing_note(reanalysis, "This page is empty without them.")
        shown = "This page shows what the table of corrected runs in the project contains."
        return with_basis(missing_note(reanalysis, shown), runs)
    runs = reanalysis.every_run
    text = (
        f"Data: {count(len(runs), 'run')} of {runs['architecture'].nunique()} architectures in "
        f"{runs['environment'].nunique()} environments, published by the authors. Energy is that "
        "of the GPU, idle power included."
    )
    if not reanalysis.problems:
        return with_basis(paragraph(text), runs)
    title = f"{count(len(reanalysis.problems), 'file')} could not be used; the rest is analysed"
    return with_basis(
        admonition("warning", title, text, summarise_problems(reanalysis.problems)), runs
    )


def missing_note(missing: Unavailable, effect: str) -> Markdown:
    """Return a box on how to get the published data; ``effect`` says what is missing here."""
    return admonition(
        "warning",
        "The published measurements are not available here",
        f"{effect} Build the book again when online (they are downloaded once), or set "
        f"<code>{VARIABLE}</code> to a folder with the files or to a mirror's URL.",
        [missing.reason],
    )


@skip_unavailable
def show_sentence(reanalysis: Reanalysis, describe: Callable[[Reanalysis], str]) -> Markdown:
    """Return the sentences of ``describe`` as a paragraph."""
    return paragraph(describe(reanalysis))


@skip_unavailable
def show_results(result: Answer, *results: Answer) -> Markdown:
    """Return the sentences of results, as a paragraph."""
    return paragraph(*(each.sentence() for each in (result, *results)))


@skip_unavailable
def answer(loss: HeadlineLoss, reanalysis: Reanalysis | Unavailable) -> Markdown:
    """Return what remains of the first version's claim, the answer first."""
    best, first = loss.largest, VERSIONS[0]
    parts = [
        f"{percent(best.saving, 0)}, not {first.said.removeprefix('up to ')}. Corrected, the "
        f"largest saving of GPU energy per image in these data is {percent(best.saving)} (95% CI "
        f"{percent(best.ci_low)} to {percent(best.ci_high)}): {best.cheap} instead of {best.dear}.",
        "The first version multiplied summed power by time, so a run of twice the length counted "
        "four times; the authors corrected this themselves.",
    ]
    if not isinstance(reanalysis, Unavailable):
        savings = reanalysis.headline()
        parts.append(net_saving(best, [savings[variant] for variant in IDLE]))
    return paragraph(*parts, loss.verdict())


@skip_unavailable
def headline_figure(reanalysis: Reanalysis) -> Exhibit:
    """Show the largest saving by each energy, with and without removals."""
    caption = (
        "Largest saving of GPU energy per image (%, published), by each way to calculate the "
        "energy (geometric means). Labelled: without the runs removed by hand. Bars: 95% intervals"
    )
    headlines = {removals: reanalysis.headline(removals) for removals in REMOVALS}
    return figure_exhibit(partial(_headline_figure, headlines), caption, reanalysis.every_run)


def _headline_figure(headlines: Mapping[Removals, Mapping[str, Saving | Unavailable]]) -> Figure:
    figure, axes = subplots(figsize=(7.5, 4.4))
    colours = sns.color_palette("colorblind", len(REMOVALS))
    for i, (removals, label) in enumerate(REMOVALS.items()):
        for row, result in enumerate(headlines[removals].values()):
            if not isinstance(result, Saving):
                continue
            low, high = result.saving - result.ci_low, result.ci_high - result.saving
            axes.errorbar(
                100 * result.saving,
                row + 0.22 * (i - 1),
                xerr=[[100 * low], [100 * high]],
                color=colours[i],
                marker=MARKERS[i],
                capsize=2,
                label=label if row == 0 else None,
            )
            if not i:
                axes.annotate(
                    percent(result.saving), (100 * result.ci_low, row - 0.22), fontsize=8,
                    xytext=(-4, 0), textcoords="offset points", ha="right", va="center",
                )  # fmt: skip
    axes.set_yticks(range(len(VARIANTS)), VARIANTS.values())
    axes.invert_yaxis()
    axes.set(xlabel="Largest saving (%)", xlim=(axes.get_xlim()[0] - 8, 101))
    legend_above(figure, axes.get_legend_handles_labels()[0], 3)
    return figure


@skip_unavailable
def sessions_table(headline: SessionHeadline) -> Exhibit:
    """Return the spread between and within sessions, by condition."""
    table = headline.spread.table()
    name = f"Spread of {count(len(table), 'condition')}"
    return table_exhibit(
        "Sessions of each condition, and how much they differ",
        collapsible_tables({name: table}), to_csv_frame(table),
    )  # fmt: skip


@skip_unavailable
def history_table(reanalysis: Reanalysis) -> Exhibit:
    """Return what each version of the paper said of the largest saving."""
    return show_table(
        history(reanalysis),
        "The headline in each version of arXiv 2307.05520, and what the public runs give",
    )


@skip_unavailable
def verdicts_table(verdicts: pd.DataFrame) -> Exhibit:
    """Return the table of claims and what remains of each."""
    return show_table(
        verdicts.drop(columns="recomputed"),
        "The paper's claims, corrected (savings: geometric means with 95% intervals)",
        data=verdicts,
    )
