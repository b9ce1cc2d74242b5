"""Data frames as tables of a page: plain headings with units, three significant digits."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from greencv_core.analysis.result import Unavailable
from greencv_core.analysis.selection import CONDITION, summarise, weakest_provenance
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.report.exhibits.exhibit import Exhibit, table_exhibit
from greencv_core.report.exhibits.labels import (
    axis_label,
    display_unit,
    heading,
    in_display_unit,
    lower_first,
    order_by_complexity,
    people_name,
    single_component,
    with_names,
)
from greencv_core.report.exhibits.markdown import NO_FORMULAS
from greencv_core.utils.text import count, decimals, number, percent

if TYPE_CHECKING:
    from greencv_core.analysis.comparison.omnibus import Comparison

MANY_ROWS = 24
"""A longer table shows a part of its rows; a button shows the rest."""
SORTED_ROWS = 10
"""A longer table can be sorted and filtered."""
_P_COLUMNS = ("p", "p_holm", "t_p_holm", "dunn_p_holm", "games_howell_p", "shapiro_p",
              "aligned_p", "added_p", "lack_of_fit_p")  # fmt: skip
_ABSENT = "\N{EN DASH}"
_TO = "\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}"
_WHOLE = ("n", "n_a", "n_b", "n_from", "n_to", "df",
          *(c.name for c in RUNS_COLUMNS.values() if c.decimals == 0))  # fmt: skip
_NAMES = ("architecture", "environment", "group", "a", "b", "term", "test", "run_id", "df")
_SHARES = ("saving", "relative_uncertainty", "agreement", "missing_energy", "most_missing_energy",
           "low_power_share", "before_power_share", "after_power_share",
           "energy_variation", "shared_share", "against_median")  # fmt: skip
_SMALL_SHARES = ("loss", "lowest_loss", "highest_loss")
_THREE_DECIMALS = ("f1", "f1_loss", "f1_q1", "f1_q3", "eta_squared", "partial_eta_squared",
                   "cliffs_delta",
                   *(c.name for c in RUNS_COLUMNS.values() if c.decimals == 3))  # fmt: skip
_PAIR_COLUMNS = ("a", "b", "t_p_holm", "dunn_p_holm", "cliffs_delta", "hodges_lehmann_shift")
_WITH_INTERVAL = ("cliffs_delta", "hodges_lehmann_shift")
_MEDIANS = ("energy_j_per_image", "duration_s_per_image", "power_w", "f1_macro", "emissions_gco2e")
_SCALED = ("energy_j_per_image", "duration_s_per_image", "emissions_gco2e", "gflops_per_image")
_WITH_ID = ("architecture", "environment", "group", "a", "b", "condition", "Configuration")
_VERBATIM = ("run_id", "study", "device_name", "path", "file")
_MEDIAN_TITLES = tuple(heading(value).partition(" (")[0] for value in _MEDIANS)
# A spreadsheet reads text with such a beginning as a formula.
_FORMULA = ("=", "+", "-", "@", "\t")


def show_table(
    frame: pd.DataFrame,
    caption: str,
    provenance: str | None = None,
    runs: pd.DataFrame | None = None,
    data: pd.DataFrame | None = None,
) -> Exhibit:
    """Return a table; text from records and studies becomes neither HTML nor a formula.

    ``provenance`` is that of the energies, for their headings. ``runs`` are those behind it, if not
    all of the page. ``data`` is the content of its file if a cell shows several numbers.
    """
    csv = add_headings(frame, provenance) if data is None else to_csv_frame(data)
    body = collapse_rows(frame, "row", provenance=provenance)
    exhibit = table_exhibit(caption, body, csv)
    return exhibit if runs is None else exhibit.with_runs(runs)


def table_html(
    frame: pd.DataFrame, provenance: str | None = None, names: Collection[str] = ()
) -> str:
    """Return a table's HTML alone; ``names`` are columns whose name is the heading as it is."""
    numeric = [c for c in frame.columns if pd.api.types.is_numeric_dtype(frame[c])
               and not pd.api.types.is_bool_dtype(frame[c])]  # fmt: skip
    classes = {c: "" for c in frame.columns}
    classes |= dict.fromkeys(_NAMES, ' class="gcv-name"')
    medians = [c for c in frame.columns if str(c).partition(" (")[0] in _MEDIAN_TITLES]
    classes |= dict.fromkeys((*numeric, *_MEDIANS, *medians), ' class="gcv-number"')
    headings = _headings(frame, provenance, names)
    scaled = frame.assign(**{c: in_display_unit(frame, c) for c in numeric if c in _SCALED})
    head = [f'<th scope="col"{classes[c]}>{html.escape(headings[c])}</th>' for c in frame.columns]
    rows = [
        [
            f"<td{classes[c]}>{_cell_html(str(c), value)}</td>"
            for c, value in zip(frame.columns, row, strict=True)
        ]
        for row in scaled.itertuples(index=False, name=None)
    ]
    # MathJax would look for formulas in the table, and a formula can hold a link.
    sortable = "gcv-sortable " if len(frame) > SORTED_ROWS else ""
    return (
        f'<table class="gcv-data {sortable}{NO_FORMULAS}">\n<thead>\n{_row(head)}</thead>\n'
        f"<tbody>\n{''.join(map(_row, rows))}</tbody>\n</table>\n"
    )


def _row(cells: Sequence[str]) -> str:
    return "<tr>\n{}\n</tr>\n".format("\n".join(cells))


def _headings(
    frame: pd.DataFrame, provenance: str | None, names: Collection[str] = ()
) -> dict[Any, str]:
    shown = None if "provenance" in frame else provenance
    return {
        c: people_name(str(c))
        if c in names
        else heading(str(c), shown, sign=display_unit(frame, str(c))[1] if c in _SCALED else "")
        for c in frame.columns
    }


def add_headings(frame: pd.DataFrame, provenance: str | None = None) -> pd.DataFrame:
    """Return the CSV content of a table with one value in each cell, with its headings."""
    shown = None if "provenance" in frame else provenance
    headings = {c: _csv_value(heading(str(c), shown)) for c in frame.columns}
    return to_csv_frame(frame).rename(columns=headings)


def to_csv_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the CSV content of a table: numbers with six digits, text in one line."""
    plain = frame.copy()
    for column in plain.columns:
        plain[column] = [_csv_value(value) for value in plain[column]]
    return plain


def _csv_value(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if not isinstance(value, str):
        return value
    line = re.sub(r"\s*\n\s*", "; ", value.replace("\N{NO-BREAK SPACE}", " "))
    return f"'{line}" if line.startswith(_FORMULA) else line


def show_if_any(frame: pd.DataFrame, caption: str) -> Exhibit | None:
    """Return a table; None if it would be empty, and the book leaves its section out."""
    return None if frame.empty else show_table(frame, caption)


def collapsible_tables(
    parts: Mapping[str, pd.DataFrame],
    first: pd.DataFrame | None = None,
    provenance: str | None = None,
) -> str:
    """Return the HTML of tables, each folded under the line that is its key, below the first."""
    opened = "" if first is None else table_html(first, provenance)
    return opened + "".join(
        f"<details><summary>{html.escape(line)}</summary>{table_html(part, provenance)}</details>"
        for line, part in parts.items()
    )


def collapse_rows(
    frame: pd.DataFrame, row: str, rows: str | None = None, provenance: str | None = None
) -> str:
    """Return the HTML of a table that shows its first rows if it is long; one is called ``row``.

    A script of the book hides the rest, so that the table is whole without it.
    """
    table = table_html(frame, provenance)
    if len(frame) <= MANY_ROWS:
        return table
    return table.replace("<table ", f'<table data-rows="{count(len(frame), row, rows)}" ', 1)


def conditions_table(runs: pd.DataFrame, by: Sequence[str] = CONDITION) -> Exhibit:
    """Return the medians of each condition, with quartiles of energy and F1; least complex first.

    A study with many conditions shows the energies and folds the rest by architecture.
    """
    levels = {column: list(runs[column].unique()) for column in by}
    levels["architecture"] = order_by_complexity(runs)
    summary = summarise(runs, by, _MEDIANS).sort_values(
        list(by), key=lambda names: names.map(levels[str(names.name)].index)
    )
    frame = summary[[*by, "n"]].copy()
    provenance = weakest_provenance(runs)
    for value in _MEDIANS:
        quartiles = value in ("energy_j_per_image", "f1_macro")
        factor, sign = display_unit(summary, value)
        ends = (factor * summary[column] for column in (value, f"{value}_q1", f"{value}_q3"))
        frame[heading(value, provenance, sign=sign)] = [
            _median(value, *three, quartiles=quartiles) for three in zip(*ends, strict=True)
        ]
    energy = f"{single_component(runs)} energy".strip()
    of_each, whole = " and ".join(by), "emissions of a whole run"
    if summary["n"].nunique() == 1:
        whole += f"; {summary['n'].iloc[0]} runs each"
        frame = frame.drop(columns="n")
    if len(frame) <= MANY_ROWS or tuple(by) != CONDITION:
        caption = f"Medians by {of_each} (below: quartiles); {energy} {provenance}; {whole}"
        return show_table(frame, caption, provenance, runs, summary)
    shown = summary.assign(shown=summary[_MEDIANS[0]] * display_unit(runs, _MEDIANS[0])[0])
    energies = shown.pivot(index="architecture", columns="environment", values="shown")
    energies = energies.loc[levels["architecture"], levels["environment"]]
    energies = energies.rename_axis(columns=None).reset_index()
    parts = {
        f"{name}: {count(len(part), 'environment')}": part.drop(columns="architecture")
        for name, part in frame.groupby("architecture", sort=False)
    }
    opened = table_html(energies, names=levels["environment"])
    body = opened + collapsible_tables(parts, provenance=provenance)
    energy = lower_first(axis_label(runs, _MEDIANS[0]))
    caption = f"Median {energy} by {of_each}; to open: every median, with quartiles; {whole}"
    return table_exhibit(caption, body, to_csv_frame(summary)).with_runs(runs)


def pairs_table(
    comparisons: Mapping[str, Comparison | Unavailable], by: str, provenance: str
) -> Exhibit | None:
    """Return the pairs of comparisons, each named in column ``by``; None if all are unavailable."""
    answered = {name: c for name, c in comparisons.items() if not isinstance(c, Unavailable)}
    if not answered:
        return None
    frame = pd.concat([c.pairs.assign(**{by: name}) for name, c in answered.items()])
    numbers = frame[[by, *(c for c in frame.columns if c != by)]].reset_index(drop=True)
    for column in _WITH_INTERVAL:
        sizes = frame["cliffs_magnitude"] if column == "cliffs_delta" else [None] * len(frame)
        frame[column] = [
            _interval(column, *values)
            for values in zip(
                frame[column], frame[f"{column}_low"], frame[f"{column}_high"], sizes, strict=True
            )
        ]
    columns = list(_PAIR_COLUMNS)
    value = next(iter(answered.values())).value
    caption = f"Pairs, 95% intervals below: {heading(value, provenance)}"
    if len(frame) <= MANY_ROWS:
        columns = [*([by] if len(comparisons) > 1 else []), *columns]
        return show_table(frame[columns].reset_index(drop=True), caption, data=numbers)
    if len(answered) == 1:
        body = collapse_rows(frame[columns].reset_index(drop=True), "pair")
    else:
        body = collapsible_tables(
            {
                f"{name}: {count(len(part), 'pair')}": part[columns].reset_index(drop=True)
                for name, part in frame.groupby(by, sort=False)
            }
        )
    return table_exhibit(caption, body, to_csv_frame(numbers))


def with_interval(text: Callable[[float], str], estimate: float, low: float, high: float) -> str:
    """Return a cell: the estimate and, below, its interval."""
    texts = [text(value) for value in (estimate, low, high)]
    return f"{texts[0]}\n{texts[1]} to {texts[2]}".replace(" ", "\N{NO-BREAK SPACE}")


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
    return _interval(column, median, q1, q3) if quartiles else _cell(column, median)


def _cell(column: str, value: Any) -> str:
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
        return percent(value)
    if column in _SMALL_SHARES:
        return percent(value, 2)
    if column in _THREE_DECIMALS:
        return decimals(value, 3)
    return number(value) if isinstance(value, float) else str(value)


def _cell_html(column: str, value: Any) -> str:
    """Return a cell as HTML: names for people, an id that differs from its name below it."""
    text = _cell(column, value)
    if column == "run_id":  # the book links it to the run
        return f'<code class="gcv-run">{html.escape(text)}</code>'
    if not isinstance(value, str) or column in _VERBATIM:
        return html.escape(text)
    shown = html.escape(with_names(text))
    if column not in _WITH_ID or people_name(text) == text:
        return shown
    return f'{shown}\n<small class="gcv-id">{html.escape(text)}</small>'
