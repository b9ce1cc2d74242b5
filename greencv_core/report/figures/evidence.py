"""Forest plots of the evidence: hardware scaling, and savings at a negligible loss."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from greencv_core.published.effects import EnvironmentSaving
from greencv_core.published.evidence_results import EvidenceResults
from greencv_core.published.pooling import Effect, Pooled
from greencv_core.report.exhibits.exhibit import Exhibit, figure_exhibit
from greencv_core.report.exhibits.sources import short_source
from greencv_core.report.exhibits.theme import INK, is_narrow, subplots

_ROW_IN = 0.3
_NARROW_ROW_IN = 0.56
_MINUS = "\N{MINUS SIGN}"
_BRANDS = re.compile(r"^1x |NVIDIA |GeForce |Quadro |-SXM4-40GB|_AMP")
_POOLED, _PREDICTED = "#0072b2", "0.55"


@dataclass(frozen=True)
class _Row:
    """A row of a forest plot; one without an estimate is a heading."""

    label: str
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    text: str = ""
    pooled: bool = False
    prediction: tuple[float, float] | None = None


def scaling_forest(results: EvidenceResults, runs: pd.DataFrame) -> Exhibit | None:
    """Show the exponent of each pair of hardware, the pooled mean, and the pairs with batches.

    None without a pair.
    """
    rows = _scaling_rows(results)
    if not rows:
        return None
    caption = (
        "How the ratio of energy (published) on larger to smaller hardware changes with "
        "complexity: exponents with 95% intervals. Below zero, larger hardware suits complex "
        "architectures better. Grey: prediction interval for another pair. Pairs below the mean "
        "are not part of it"
    )
    axis = "Exponent of GFLOPs (below: of GFLOPs x batch)"
    return figure_exhibit(partial(_draw, rows, axis), caption, runs)


def _scaling_rows(results: EvidenceResults) -> list[_Row]:
    rows = []
    if results.scaling:
        rows.append(_Row("Comparable pairs, by GFLOPs of the architecture"))
        rows += [_effect_row(effect) for effect in results.scaling]
    pooled = results.pooled_scaling
    if isinstance(pooled, Pooled):
        rows.append(_pooled_row(pooled))
    if results.batches:
        rows.append(_Row("GPU generations, by GFLOPs x batch"))
        rows += [_effect_row(effect) for effect in results.batches]
    return rows


def _effect_row(effect: Effect) -> _Row:
    low, high = effect.ci_low, effect.ci_high
    text = f"{_signed(effect.estimate)} ({_signed(low)} to {_signed(high)})"
    label = f"{short_pair(effect.pair)}, {short_source(effect.source)}"
    return _Row(label, effect.estimate, low, high, text)


def _pooled_row(pooled: Pooled) -> _Row:
    text = f"{_signed(pooled.mean)} ({_signed(pooled.ci_low)} to {_signed(pooled.ci_high)})"
    return _Row(
        f"Mean of {len(pooled.effects)} pairs", pooled.mean, pooled.ci_low, pooled.ci_high, text,
        pooled=True, prediction=(pooled.prediction_low, pooled.prediction_high),
    )  # fmt: skip


def savings_forest(results: EvidenceResults, runs: pd.DataFrame) -> Exhibit | None:
    """Show the saving at a negligible loss of correctness in each environment; None without one."""
    if not results.savings:
        return None
    rows = [_saving_row(saving) for saving in results.savings]
    caption = (
        "Energy per image (published) saved by the architecture that needs least among those whose "
        f"median correctness is at most {100 * results.margin:g} points below the best, against "
        "the best architecture. Bars: 95% intervals; hollow: one run per condition, so no "
        "interval"
    )
    return figure_exhibit(partial(_draw, rows, "Energy saved (%)"), caption, runs)


def _saving_row(saving: EnvironmentSaving) -> _Row:
    where = place_name(saving.dataset, saving.environment)
    low, high = 100 * saving.ci_low, 100 * saving.ci_high
    text = f"{100 * saving.saving:.0f}%"
    if not math.isnan(low):
        text += f" ({low:.0f} to {high:.0f})".replace("-", _MINUS)
    if saving.cheap == saving.dear:
        text += (
            f", none cheaper of {saving.architectures}"
            if saving.architectures > 1
            else ", the only one"
        )
    else:
        text += f", {saving.architectures} qualify"
    label = f"{where}, {short_source(saving.source)}"
    return _Row(label, 100 * saving.saving, low, high, text)


def place_name(dataset: str, environment: str) -> str:
    """Return an environment's short name, with the data set unless it is private."""
    environment = short_pair(environment)
    return environment if "private" in dataset or not dataset else f"{dataset}, {environment}"


def short_pair(name: str) -> str:
    """Return names of hardware without brands: ``RTX 3090 / RTX 3070``."""
    name = re.sub(r"/(?=1x |NVIDIA|Quadro|[A-Z]+\d)", " / ", name)
    return " / ".join(_BRANDS.sub("", part) for part in name.split(" / "))


def _signed(value: float) -> str:
    return f"{value:z.3f}".replace("-", _MINUS)


def _draw(rows: Sequence[_Row], axis: str) -> Figure:
    narrow = is_narrow()
    height = (_NARROW_ROW_IN if narrow else _ROW_IN) * len(rows) + 0.7
    figure, axes = subplots(figsize=(7.5, height))
    labels: list[str] = []
    for place, row in enumerate(rows):
        _draw_row(axes, place, row)
        labels.append(row.label)
    axes.set_ylim(len(rows) - 0.4, -0.7)
    axes.set_xlabel(axis)
    axes.grid(visible=False, axis="both" if narrow else "y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if narrow:
        _label_above(axes, rows)
        return figure
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(rows)), labels)
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if math.isnan(row.estimate) or row.pooled else "normal")
    side = axes.secondary_yaxis("right")
    side.set_yticks(range(len(rows)), [row.text for row in rows])
    side.tick_params(length=0, labelsize=8.5)
    side.spines["right"].set_visible(False)
    return figure


def _label_above(axes: Axes, rows: Sequence[_Row]) -> None:
    """Write each label above its row: a narrow screen has no room beside the axes."""
    axes.set_yticks([])
    for place, row in enumerate(rows):
        if row.text:  # a line through all rows would cross the labels
            axes.plot([0, 0], [place - 0.13, place + 0.2], color=INK, linewidth=0.8, zorder=1)
        bold = "bold" if math.isnan(row.estimate) or row.pooled else "normal"
        text = f"{row.label}\n{row.text}" if row.text else row.label
        axes.text(
            0, place - 0.17, text, transform=axes.get_yaxis_transform(), fontsize=7.5,
            va="bottom" if row.text else "center", fontweight=bold, zorder=5,
        )  # fmt: skip


def _draw_row(axes: Axes, place: int, row: _Row) -> None:
    if math.isnan(row.estimate):
        return
    if row.prediction is not None:
        axes.plot(row.prediction, [place, place], color=_PREDICTED, linewidth=1.2, zorder=2)
    known = not math.isnan(row.low)
    colour = _POOLED if row.pooled else INK
    if known:
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2, zorder=3)
    axes.plot(
        [row.estimate], [place], marker="D" if row.pooled else "o", color=colour, zorder=4,
        markersize=7 if row.pooled else 6, markerfacecolor=colour if known else "none",
    )  # fmt: skip
