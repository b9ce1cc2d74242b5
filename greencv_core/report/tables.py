"""Data frame in, table for the page out: plain headings with units, three digits, nothing more."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from greencv_core.analysis.attempt import Unanswered
from greencv_core.analysis.comparison import Comparison
from greencv_core.analysis.runs import CONDITION, summarise, weakest_provenance
from greencv_core.analysis.wording import number
from greencv_core.report.labels import heading
from greencv_core.report.prose import NO_FORMULAS, say
from greencv_core.report.theme import by_complexity

_P_COLUMNS = ("p", "p_holm", "dunn_p_holm", "games_howell_p", "shapiro_p", "aligned_p", "added_p",
              "lack_of_fit_p", "non_inferiority_p_holm",
              "non_inferiority_p_ranks")  # fmt: skip
_ABSENT = "\N{EN DASH}"
_TO = "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"
_WHOLE = ("n", "n_a", "n_b", "n_from", "n_to", "parameters", "epochs", "images_processed",
          "df")  # fmt: skip
_NAMES = ("architecture", "environment", "group", "a", "b", "term", "test", "run_id", "df")
_SHARES = ("saving", "relative_uncertainty", "agreement", "missing_energy", "most_missing_energy",
           "low_power_share", "before_power_share", "after_power_share",
           "energy_variation", "shared_share", "against_median")  # fmt: skip
_SMALL_SHARES = ("loss", "lowest_loss", "highest_loss")
_THREE_DECIMALS = ("f1_macro", "accuracy", "precision_macro", "recall_macro", "auroc_macro",
                   "f1", "f1_loss", "f1_q1", "f1_q3", "eta_squared", "partial_eta_squared",
                   "cliffs_delta")  # fmt: skip
_PAIR_COLUMNS = ("a", "b", "games_howell_p", "dunn_p_holm", "cliffs_delta", "hodges_lehmann_shift")
_WITH_INTERVAL = ("cliffs_delta", "hodges_lehmann_shift")
_MEDIANS = ("energy_j_per_image", "duration_s_per_image", "power_w", "f1_macro", "emissions_gco2e")
# Colours are the theme's: tables must read in its light and in its dark mode.
_LOOK = [
    {"selector": "", "props": "font-size: 0.78em; border-collapse: collapse"},
    {"selector": "caption", "props": "caption-side: top; text-align: left; padding: 0.4em 0"},
    {
        "selector": "th",
        "props": "text-align: left; vertical-align: bottom; padding: 0.3em 0.55em 0.3em 0; "
        "border-bottom: 2px solid rgba(128, 128, 128, 0.6)",
    },
    {
        "selector": "td",
        "props": "text-align: left; vertical-align: top; padding: 0.3em 0.55em 0.3em 0; "
        "border-bottom: 1px solid rgba(128, 128, 128, 0.25); white-space: pre-line",
    },
]


def styled(
    frame: pd.DataFrame, caption: str | None = None, provenance: str | None = None
) -> Styler:
    """Return a table for HTML, in which nothing from records and studies is HTML or a formula.

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
    style = shown.style.hide(axis="index").format(escape="html", na_rep=_ABSENT)
    style = style.format_index(escape="html", axis="columns")
    # MathJax looks for formulas in what a notebook shows, and a formula can hold a link.
    style = style.set_table_attributes(f'class="{NO_FORMULAS}"')
    style = style.set_table_styles(_LOOK)
    by_column: Any = {headings[c]: [] for c in frame.columns}
    for column in frame.columns:
        if column in (*numeric, *_MEDIANS):
            by_column[headings[column]].append({"selector": "", "props": "text-align: right"})
        if column in _NAMES:
            by_column[headings[column]].append({"selector": "", "props": "white-space: nowrap"})
    style = style.set_table_styles(by_column, overwrite=False)
    return style.set_caption(html.escape(caption)) if caption else style


def styled_or_said(frame: pd.DataFrame, otherwise: str) -> Styler | Markdown:
    """Return a table for HTML, or a sentence where it would be empty."""
    return say(otherwise) if frame.empty else styled(frame)


def conditions_table(runs: pd.DataFrame, by: Sequence[str] = CONDITION) -> Styler:
    """Return medians of each condition, energy and F1 with their quartiles; least complex first."""
    levels = {column: list(runs[column].unique()) for column in by}
    levels["architecture"] = by_complexity(runs)
    summary = summarise(runs, by, _MEDIANS).sort_values(
        list(by), key=lambda names: names.map(levels[str(names.name)].index)
    )
    frame = summary[[*by, "n"]].copy()
    for value in _MEDIANS:
        quartiles = value in ("energy_j_per_image", "f1_macro")
        frame[value] = [
            _median(value, *three, quartiles=quartiles)
            for three in zip(
                summary[value], summary[f"{value}_q1"], summary[f"{value}_q3"], strict=True
            )
        ]
    provenance = weakest_provenance(runs)
    caption = (
        f"Medians by {' and '.join(by)} (below: quartiles); energy {provenance}; emissions of a "
        "whole run"
    )
    if summary["n"].nunique() == 1:
        caption += f"; n = {summary['n'].iloc[0]} each"
        frame = frame.drop(columns="n")
    return styled(frame, caption, provenance)


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
    for column in _WITH_INTERVAL:
        sizes = frame["cliffs_magnitude"] if column == "cliffs_delta" else [None] * len(frame)
        frame[column] = [
            _interval(column, *told)
            for told in zip(
                frame[column], frame[f"{column}_low"], frame[f"{column}_high"], sizes, strict=True
            )
        ]
    columns = [*([by] if len(comparisons) > 1 else []), *_PAIR_COLUMNS]
    value = next(iter(answered.values())).value
    caption = f"Pairs, 95 % intervals below: {heading(value, provenance)}"
    return styled(frame[columns].reset_index(drop=True), caption)


def _interval(
    column: str, estimate: float, low: float, high: float, size: str | None = None
) -> str:
    text = f"{_cell(column, estimate)}{f', {size}' if size else ''}"
    if math.isnan(low):
        return f"{text}\n{_ABSENT}"
    return f"{text}\n{_cell(column, low)}{_TO}{_cell(column, high)}"


def _median(column: str, median: float, q1: float, q3: float, *, quartiles: bool) -> str:
    if math.isnan(median):
        return _ABSENT
    return _interval(column, median, q1, q3) if quartiles else str(_cell(column, median))


def _cell(column: str, value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _ABSENT
    if column in _P_COLUMNS:
        return "<\N{NO-BREAK SPACE}0.001" if value < 0.001 else f"{value:.3f}"
    if column in _WHOLE:
        return f"{int(value):,}"
    if column in _SHARES:
        return f"{100 * value:.1f} %"
    if column in _SMALL_SHARES:
        return f"{100 * value:.2f} %"
    if column in _THREE_DECIMALS:
        return f"{value:.3f}".replace("-", _MINUS)
    return number(value).replace("-", _MINUS) if isinstance(value, float) else str(value)
