"""The page that puts the original's questions to its data with our tests."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from greencv_core.analysis import (
    BreakEven,
    Comparison,
    EnergyRegression,
    SavingsWithoutLoss,
    Unavailable,
    filter_by,
)
from greencv_core.published.seaa2023.reanalysis import RQ1_ENVIRONMENT, SMALLER_GPU
from greencv_core.published.seaa2023.thinning import Thinning
from greencv_core.report.exhibits.exhibit import Exhibit, skip_unavailable
from greencv_core.report.exhibits.markdown import bullet_list, paragraph
from greencv_core.report.exhibits.tables import show_table, with_interval
from greencv_core.utils.text import count, decimals, percent


def selected(every: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the runs that the original kept: all, those in Cloud, and those of both GPUs.

    Parameters
    ----------
    every
        All runs with corrected energies, and ``removed_by_hand``.
    """
    runs = every[~every["removed_by_hand"]].dropna(subset=["energy_j_per_image"])
    runs = runs.reset_index(drop=True)
    within = filter_by(runs, "environment", RQ1_ENVIRONMENT)
    return runs, within, runs[runs["environment"].isin((SMALLER_GPU, RQ1_ENVIRONMENT))]


@skip_unavailable
def answer(
    energy: Comparison,
    harmless: SavingsWithoutLoss | Unavailable,
    regression: EnergyRegression | Unavailable,
    even: BreakEven | Unavailable,
) -> Markdown:
    """Say which of the original's conclusions stand, the number first."""
    parts = [
        (
            energy.significant,
            f"Architectures differ in energy: {energy.pairs_differing} of {len(energy.pairs)} "
            "pairs differ significantly.",
        )
    ]
    if isinstance(harmless, SavingsWithoutLoss):
        points = f"{100 * harmless.margin:g} points of F1"
        text = f"No saving is shown to cost less than {points}."
        if harmless.best is not None and harmless.shown:
            best = harmless.best
            text = (
                f"At a loss of less than {points}, the largest saving is {percent(best.saving)} "
                f"(95% CI {percent(best.ci_low)} to {percent(best.ci_high)}): {best.cheap} "
                f"instead of {best.dear}."
            )
        parts.append((harmless.shown, text))
    if isinstance(regression, EnergyRegression):
        sure = int((regression.lines["ci_low"] > 0).sum())
        every = len(regression.lines)
        text = f"Energy grows with GFLOPs in {sure} of {count(every, 'environment')}."
        parts.append((sure == every, text))
    if isinstance(even, BreakEven):
        pays = even.within_range and even.above == RQ1_ENVIRONMENT
        text = (
            f"That the larger GPU pays for complex architectures is {'' if pays else 'not '}shown."
        )
        parts.append((pays, text))
    stands = sum(stands for stands, _ in parts)
    return paragraph(f"{stands} of {len(parts)} do.", *(text for _, text in parts))


@skip_unavailable
def environments_list(results: Mapping[str, Comparison | Unavailable]) -> Markdown:
    """Return how many pairs of environments differ, for each architecture, as a list."""
    return bullet_list(
        f"{name}: {result.reason}."
        if isinstance(result, Unavailable)
        else f"{name}: {result.pairs_differing} of {count(len(result.pairs), 'pair')} of "
        f"environments {'differs' if len(result.pairs) == 1 else 'differ'} significantly "
        f"({result.statistics()})."
        for name, result in results.items()
    )


@skip_unavailable
def thinning_table(thinned: Thinning) -> Exhibit:
    """Return the headlines by the time between samples."""
    rows = thinned.table
    shown = pd.DataFrame(
        {
            "Sample every": [f"{value} s" for value in rows["every_s"]],
            "Largest change of a run's energy": [percent(v, 2) for v in rows["largest_change"]],
            "Largest saving": [
                with_interval(percent, row.saving, row.ci_low, row.ci_high)
                for row in rows.itertuples()
            ],
            "Exponent of GFLOPs, Cloud": [f"{v:.3f}" for v in rows["exponent_cloud"]],
            "Exponent of GFLOPs, Local ML": [f"{v:.3f}" for v in rows["exponent_local_ml"]],
            "Hardware matches": rows["matching"],
            "Exponent of the ratio": [decimals(v, 3) for v in rows["matching_exponent"]],
        }
    )
    return show_table(
        shown, "Headlines from logs with fewer samples, gross and corrected", data=rows
    )
