"""The page on problems in the published data, and their effect on each headline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from greencv_core.analysis import Saving, Unavailable, attempt
from greencv_core.analysis.result import ALPHA
from greencv_core.published.seaa2023.evidence import counted_epochs, removals_sentence
from greencv_core.published.seaa2023.nvidia_smi import Log, read_log
from greencv_core.published.seaa2023.reanalysis import (
    CORRECTED,
    IDLE,
    RQ1_ENVIRONMENT,
    RQ2_ARCHITECTURE,
    SMALLER_GPU,
    VARIANTS,
    Reanalysis,
)
from greencv_core.published.seaa2023.runs import NAME
from greencv_core.report.exhibits.exhibit import (
    Exhibit,
    figure_exhibit,
    skip_unavailable,
    table_exhibit,
)
from greencv_core.report.exhibits.labels import (
    heading,
    order_by_complexity,
    people_name,
    with_names,
)
from greencv_core.report.exhibits.markdown import paragraph
from greencv_core.report.exhibits.tables import collapsible_tables, to_csv_frame, with_interval
from greencv_core.report.exhibits.theme import (
    MARKERS,
    environment_palette,
    legend_above,
    subplots,
)
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import percent

Tabulate = Callable[[Reanalysis], pd.DataFrame]


@skip_unavailable
def answer(reanalysis: Reanalysis) -> Markdown:
    """Name the problems, and say which of them matters to the headlines."""
    effects = reanalysis.effects.set_index("claim")
    text = (
        "Five problems that the paper does not mention. Epochs are miscounted, power is cut to "
        "whole watts, some logs are incomplete, and one GPU ran a second program. Energy includes "
        "idle power."
    )
    corrected = _largest_change(effects, "published", [CORRECTED])
    net = _largest_change(effects, CORRECTED, list(IDLE))
    if corrected is None or net is None:
        return paragraph(text)
    text += (
        f" Correcting epochs, watts and ends changes the savings by up to {corrected:.1f} "
        f"percentage points. Subtracting idle power changes them by up to {net:.0f} points, "
        "depending on how idle power is defined."
    )
    move = effects.loc[f"{RQ2_ARCHITECTURE}, {RQ1_ENVIRONMENT} to {SMALLER_GPU}"]
    nets = [move[variant] for variant in IDLE if isinstance(move[variant], Saving)]
    left = sum(saving.ci_low > 0 for saving in nets)
    if nets and left < len(nets):
        text += (
            f" By only {left} of {len(nets)} definitions does moving {RQ2_ARCHITECTURE} to the "
            "smaller GPU save energy; choosing a smaller architecture saves energy by all."
        )
    return paragraph(text)


def _largest_change(effects: pd.DataFrame, before: str, after: list[str]) -> float | None:
    """Return the largest change of a saving, in percentage points; None if none is known."""
    changes = [
        abs(row[name].saving - row[before].saving)
        for _, row in effects.iterrows()
        for name in after
        if isinstance(row[before], Saving) and isinstance(row[name], Saving)
    ]
    return 100 * max(changes) if changes else None


@skip_unavailable
def effects_table(reanalysis: Reanalysis) -> Exhibit:
    """Return what each correction makes of each saving and, folded, of the tests of energy."""
    effects = reanalysis.effects.set_index("claim")
    frame = pd.DataFrame({"energy": [VARIANTS[variant] for variant in effects.columns]})
    for claim, results in effects.iterrows():
        name = with_names(str(claim)).replace("largest", "Largest")
        frame[name] = [_interval(result) for result in results]
    tests = _tests(reanalysis)
    body = collapsible_tables({"The Kruskal-Wallis tests of energy per image": tests}, frame)
    data = pd.concat([frame, tests])
    return table_exhibit(
        "Savings by each way to calculate the energy (below: 95% intervals)", body,
        to_csv_frame(data),
    )  # fmt: skip


def _tests(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return what each correction makes of the energy tests of both questions."""
    rows: list[dict[str, object]] = []
    for name in ("rq1_energy", "rq2_energy"):
        for variant, label in VARIANTS.items():
            row: dict[str, object] = {
                "test": name.upper().replace("_ENERGY", " energy"),
                "energy": label,
            }
            test = attempt(reanalysis.test, name, variant)
            if not isinstance(test, Unavailable):
                apart = int((test.pairs["dunn_p_holm"] < ALPHA).sum())
                row |= {
                    "n": str(int(test.groups["n"].sum())),
                    "groups": str(len(test.groups)),
                    "h": f"{test.kruskal_h:.2f}",
                    "p": test.kruskal_p,
                    "eta_squared": test.eta_squared,
                    "pairs_differing": f"{apart} of {len(test.pairs)}",
                }
            rows.append(row)
    return pd.DataFrame(rows)


@skip_unavailable
def evidence_tables(
    reanalysis: Reanalysis, caption: str, tables: Mapping[str, Tabulate], *, opened: str = ""
) -> Exhibit | None:
    """Return evidence tables as one exhibit, each folded under its name but for one; None if empty.

    ``opened`` names the table that is shown.
    """
    frames = {name: tabulate(reanalysis) for name, tabulate in tables.items()}
    frames = {name: frame for name, frame in frames.items() if not frame.empty}
    if not frames:
        return None
    data = pd.concat([frame.assign(table=name) for name, frame in frames.items()])
    body = collapsible_tables(
        {name: frame for name, frame in frames.items() if name != opened}, frames.get(opened)
    )
    return table_exhibit(caption, body, to_csv_frame(data))


@skip_unavailable
def epochs_figure(reanalysis: Reanalysis) -> Exhibit | None:
    """Show, for each log, how far both counts of epochs are from what the log shows."""
    counted = counted_epochs(reanalysis)
    if counted.empty:
        return None
    caption = (
        "Epochs of the published and of the corrected count, minus those that the run's log shows. "
        "Each mark is a log; the line at zero is agreement"
    )
    return figure_exhibit(partial(_epochs_figure, counted), caption, counted)


def _epochs_figure(counted: pd.DataFrame) -> Figure:
    conditions = counted["architecture"].map(people_name) + ", " + counted["environment"]
    names = list(dict.fromkeys(conditions))
    figure, axes = subplots(figsize=(7.5, 4.4))
    rng = np.random.default_rng(0)
    colours = sns.color_palette("colorblind", 2)
    for i, (column, label) in enumerate(
        (("published_off", "published count"), ("corrected_off", "corrected count"))
    ):
        rows = conditions.map(names.index) + rng.uniform(-0.25, 0.25, len(counted))
        axes.scatter(
            counted[column], rows, color=colours[i], marker=MARKERS[i], s=16, alpha=0.6, label=label
        )
    axes.axvline(0, color="0.3", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    far = int((counted[["published_off", "corrected_off"]].abs() > 14).any(axis=1).sum())
    beyond = f"; {far} of {len(counted)} logs lie outside" if far else ""
    axes.set(xlim=(-14, 14), xlabel=f"Count minus the epochs that the log shows{beyond}")
    legend_above(figure, axes.get_legend_handles_labels()[0], 2)
    return figure


@skip_unavailable
def beginning_figure(
    reanalysis: Reanalysis, environment: str, architecture: str, repetition: int
) -> Exhibit | None:
    """Show the first minutes of a run's GPU log, and the environment's power before it."""
    run_id = f"{NAME}/{environment}/{architecture}/{repetition}"
    if run_id not in set(reanalysis.every_run["run_id"]):
        raise BadInputError(f"environment, architecture, repetition: no published run is {run_id}")
    path = reanalysis.log_path(run_id)
    if path is None:
        return None
    title = f"{people_name(architecture)}, {environment}, run {repetition}"
    caption = (
        "Power (W, published) and utilisation (%) of the GPU in the first "
        f"7 minutes of one run ({title}). Dashed: idle power in the first line and before work"
    )
    runs = reanalysis.every_run
    draw = partial(_beginning_figure, read_log(path), reanalysis.idle_power.loc[environment], title)
    return figure_exhibit(draw, caption, runs[runs["run_id"] == run_id])


def _beginning_figure(log: Log, idle: pd.Series[float], title: str) -> Figure:
    time_s = log.time_s - log.time_s[0]
    shown = time_s <= 7 * 60
    figure, panels = subplots(2, 1, sharex=True, figsize=(7.5, 4.2))
    panels[0].plot(time_s[shown], log.power_w[shown], linewidth=0.8)
    panels[1].plot(time_s[shown], log.utilization_pct[shown], linewidth=0.8, color="0.3")
    for column, label in (("low_power_w", "first line"), ("before_power_w", "before work")):
        panels[0].axhline(idle[column], color="0.5", linewidth=0.8, linestyle="--")
        panels[0].annotate(
            label, (1.0, idle[column]), xycoords=("axes fraction", "data"), fontsize=8,
            xytext=(3, 0), textcoords="offset points", va="center",
        )  # fmt: skip
    panels[0].set(ylabel="Power (W, published)", ylim=(0, None))
    panels[1].set(ylabel=heading("utilization_pct"), xlabel="Time (s)", ylim=(0, 100))
    panels[0].set_title(title)
    return figure


@skip_unavailable
def corrections_figure(reanalysis: Reanalysis) -> Exhibit:
    """Show the median energy per image of each condition: published, corrected, net."""
    runs = reanalysis.runs("published")
    caption = (
        "Median energy per image (J, published) of each condition: as published, corrected, and "
        "net of each idle power. A grey line joins the values of a condition"
    )
    return figure_exhibit(partial(_corrections_figure, runs), caption, runs)


def _corrections_figure(runs: pd.DataFrame) -> Figure:
    environments = list(runs["environment"].unique())
    colours = environment_palette(environments)
    architectures = order_by_complexity(runs)
    shown = {"published": "|", "ends_restored": "o", **dict(zip(IDLE, "s^v", strict=True))}
    medians = runs.groupby(["architecture", "environment"])[list(shown)].median()
    figure, axes = subplots(figsize=(7.5, 4.6))
    labels: list[str] = []
    for architecture in architectures:
        for environment in environments:
            if (architecture, environment) not in medians.index:
                continue
            row = medians.loc[(architecture, environment)]
            y = len(labels)
            axes.plot([row.min(), row.max()], [y, y], color="0.75", linewidth=1, zorder=1)
            for variant, marker in shown.items():
                axes.scatter(
                    row[variant], y, color=colours[environment], marker=marker, s=36, zorder=2
                )
            labels.append(f"{people_name(architecture)}, {environment}")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set(xlabel=heading("energy_j_per_image", "published, medians"), xlim=(0, None))
    handles = [
        Line2D([], [], color="0.3", marker=marker, linestyle="", label=VARIANTS[variant])
        for variant, marker in shown.items()
    ]
    legend_above(figure, handles, 2)
    return figure


@skip_unavailable
def rule_sentence(reanalysis: Reanalysis) -> Markdown:
    """State the declared rule, and what it has in common with the removals by hand."""
    return paragraph(reanalysis.outliers.sentence(), removals_sentence(reanalysis))


def _interval(result: Saving | Unavailable) -> str:
    if isinstance(result, Unavailable):
        return "no log"
    return with_interval(percent, result.saving, result.ci_low, result.ci_high)
