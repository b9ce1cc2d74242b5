"""Data frame in, table for the page out: plain headings with units, three digits, nothing more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from greencv_core.analysis.attempt import Unanswered
from greencv_core.analysis.comparison import Comparison
from greencv_core.analysis.runs import CONDITION, summarise, weakest_provenance
from greencv_core.analysis.wording import number
from greencv_core.report.labels import heading

_P_COLUMNS = ("p", "dunn_p_holm", "games_howell_p", "shapiro_p")
_ABSENT = "\N{EN DASH}"
_WHOLE = ("n", "n_a", "n_b", "n_from", "n_to", "parameters", "epochs", "images_processed")
_SHARES = ("saving",)
_THREE_DECIMALS = ("f1_macro", "accuracy", "precision_macro", "recall_macro", "auroc_macro",
                   "f1_loss", "eta_squared", "partial_eta_squared", "cliffs_delta")  # fmt: skip


def styled(
    frame: pd.DataFrame, caption: str | None = None, provenance: str | None = None
) -> Styler:
    """Return a table for HTML.

    Parameters
    ----------
    caption
        Shown above the table.
    provenance
        Of the energies shown; goes into their headings.
    """
    shown = frame.copy()
    for column in shown.columns:
        shown[column] = [_cell(str(column), value) for value in frame[column]]
    numeric = [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])
               and not pd.api.types.is_bool_dtype(frame[c])]  # fmt: skip
    headings = {c: heading(str(c), provenance) for c in frame.columns}
    shown = shown.rename(columns=headings)
    right = [headings[c] for c in numeric]
    style = shown.style.hide(axis="index").format(escape="html", na_rep=_ABSENT)
    style = style.set_properties(subset=right, **{"text-align": "right"})
    # Colours are the theme's: tables must read in its light and in its dark mode.
    style = style.set_table_styles([{"selector": "th", "props": "text-align: left"}])
    return style.set_caption(caption) if caption else style


def conditions_table(runs: pd.DataFrame, by: Sequence[str] = CONDITION) -> Styler:
    """Return medians with quartiles of each condition: energy, time, power, F1, emissions."""
    values = ("energy_j_per_image", "duration_s_per_image", "power_w", "f1_macro",
              "emissions_gco2e")  # fmt: skip
    summary = summarise(runs, by, values)
    frame = summary[[*by, "n"]].copy()
    for value in values:
        decimals = value in _THREE_DECIMALS
        frame[value] = [
            _with_quartiles(m, a, b, decimals)
            for m, a, b in zip(
                summary[value], summary[f"{value}_q1"], summary[f"{value}_q3"], strict=True
            )
        ]
    provenance = weakest_provenance(runs)
    return styled(frame, f"Median [quartiles] by {' and '.join(by)}; energy {provenance}",
                  provenance)  # fmt: skip


_PAIR_COLUMNS = ("a", "b", "dunn_p_holm", "games_howell_p", "cliffs_delta", "cliffs_magnitude",
                 "hodges_lehmann_shift")  # fmt: skip


def pairs_table(
    comparisons: Mapping[str, Comparison | Unanswered], by: str, provenance: str
) -> Styler | None:
    """Return the pairs of one or several comparisons, each named in column ``by``.

    None where none of them has an answer.
    """
    answered = {name: c for name, c in comparisons.items() if isinstance(c, Comparison)}
    if not answered:
        return None
    frame = pd.concat([c.pairs.assign(**{by: name}) for name, c in answered.items()])
    columns = [*([by] if len(comparisons) > 1 else []), *_PAIR_COLUMNS]
    value = next(iter(answered.values())).value
    return styled(frame[columns].reset_index(drop=True), f"Pairs: {heading(value, provenance)}")


def _with_quartiles(median: float, q1: float, q3: float, decimals: bool) -> str:
    if math.isnan(median):
        return _ABSENT
    form = (lambda v: f"{v:.3f}") if decimals else number
    return f"{form(median)} [{form(q1)}, {form(q3)}]"


def _cell(column: str, value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _ABSENT
    if column in _P_COLUMNS:
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    if column in _WHOLE:
        return f"{int(value):,}"
    if column in _SHARES:
        return f"{100 * value:.1f} %"
    if column in _THREE_DECIMALS:
        return f"{value:.3f}"
    return number(value) if isinstance(value, float) else str(value)
