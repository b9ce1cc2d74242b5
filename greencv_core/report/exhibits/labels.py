"""What axes and column headings say: the quantity, its unit and, for energy, its provenance."""

from __future__ import annotations

import pandas as pd

from greencv_core.analysis.selection import weakest_provenance
from greencv_core.records.columns import RUNS_COLUMNS
from greencv_core.utils.energy import COMPONENTS

_HEADINGS = {
    "f1_loss": "Loss of macro F1",
    "n": "n",
    "p": "p",
    "ci_low": "95 % low",
    "ci_high": "95 % high",
    "dunn_p_holm": "p (Dunn, Holm)",
    "p_holm": "p (Holm)",
    "aligned_f": "F (aligned ranks)",
    "aligned_p": "p (aligned ranks)",
    "added_p": "p of the term added",
    "lack_of_fit_f": "F of what is left",
    "lack_of_fit_p": "p of what is left",
    "front_probability": "On the front in resamples",
    "games_howell_p": "p (Games-Howell)",
    "t_p_holm": "p (t test, Holm)",
    "cliffs_delta": "Cliff's delta",
    "hodges_lehmann_shift": "Shift (Hodges-Lehmann)",
    "shapiro_w": "Shapiro-Wilk W",
    "shapiro_p": "Shapiro-Wilk p",
    "sum_sq": "Sum of squares",
    "sd": "SD",
    "sd_between": "SD of logarithms between sessions",
    "sd_within": "SD of logarithms within sessions",
    "icc": "Intraclass correlation",
    "df": "df",
    "a": "First",
    "b": "Second",
    "cpu": "CPU",
    "cpus": "CPUs",
    "memory_gib": "Memory (GiB)",
    "uncertainty_j": "Standard uncertainty (J)",
    "relative_uncertainty": "Relative",
    "interval_low_j": "95 % low (J)",
    "interval_high_j": "95 % high (J)",
    "resolution_s": "Refreshed every (s)",
    "second_to_first": "Second / first, median",
    "lowest_ratio": "Lowest",
    "highest_ratio": "Highest",
    "explained_share": "Explained by the components, median",
    "lowest_share": "Lowest",
    "highest_share": "Highest",
    "agreement": "Runs in which they agree",
    "temperature_c": "Highest temperature (\N{DEGREE SIGN}C)",
    "utilization_pct": "Utilisation (%)",
    "sm_clock_mhz": "SM clock (MHz)",
    "memory_clock_mhz": "Memory clock (MHz)",
    "memory_used_gib": "Memory used (GiB)",
    "slowed_by": "Clocks held back by",
    "start_s": "Start (s)",
    "end_s": "End (s)",
    "on_front": "On the front",
    "epoch_s": "Epoch (s)",
    "published_begin": "Second stage begins after, published count",
    "corrected_begin": "Second stage begins after, corrected count",
    "published_off": "Published count less the log's, median",
    "published_matching": "Published count is the log's",
    "corrected_off": "Corrected count less the log's, median",
    "corrected_matching": "Corrected count is the log's",
    "loss_w": "Loss (W)",
    "loss": "Loss, median",
    "largest_difference": "Ours less the published energy, relative, at most",
    "lost_ends": "Without their end",
    "missing_s": "Missing (s), median",
    "most_missing_s": "Missing (s), at most",
    "missing_energy": "Energy missing, median",
    "most_missing_energy": "Energy missing, at most",
    "low_power_w": "First line (W)",
    "before_power_w": "Before work (W)",
    "after_power_w": "After work (W)",
    "low_power_share": "Share of energy, first line",
    "before_power_share": "Share, before work",
    "after_power_share": "Share, after work",
    "sign": "What sets the log apart",
    "memory_used_mib": "Memory, least (MiB)",
    "shared_memory_mib": "Memory, shared (MiB)",
    "shared_share": "Shared, of its time",
    "against_median": "Energy against the condition's median",
    "printed": "In print",
    "in_figure": "In a figure",
    "from_data": "From the data",
    "corrected_less_log": "Corrected count less the log's",
    "f1_q1": "F1, lower quartile",
    "f1_q3": "F1, upper quartile",
    "energy_variation": "Coefficient of variation of energy per image",
    "removed_by_hand": "Runs removed by hand",
    "removed_by_rule": "Runs removed by the rule",
    "with_a_run_put_back": "of these, with a run put back",
    "put_back": "Run put back",
    "abstract": "Largest saving in the abstract",
    "public_runs": "Public runs",
    "pairs_told_apart": "Pairs told apart (Dunn)",
}

MICROSECONDS = "Time per image (\N{MICRO SIGN}s)"
"""Heading of times per image if the shortest is below 100 microseconds."""


def heading(column: str, provenance: str | None = None, of: str = "") -> str:
    """Return a column's heading; energy carries its provenance: Energy (J, estimated).

    With ``of``, it is the energy of one component: GPU energy (J, measured).
    """
    if known := RUNS_COLUMNS.get(column):
        text = known.heading(of)
        return text.replace(")", f", {provenance})") if provenance and known.provenance else text
    if " " in column:  # a heading already
        return column
    return _HEADINGS.get(column, column.replace("_", " ").capitalize())


def axis_label(runs: pd.DataFrame, column: str) -> str:
    """Return the label of an axis that shows ``column`` of these runs.

    The energy of one component has that component's provenance, not the sum's.
    """
    known = RUNS_COLUMNS.get(column)
    provenance = weakest_provenance(runs, known.provenance) if known and known.provenance else None
    return heading(convert_unit(runs, column)[1], provenance, single_component(runs))


def single_component(runs: pd.DataFrame) -> str:
    """Return the component whose energy these runs count, where it is one alone: GPU."""
    counted = set(runs["components"].dropna()) if "components" in runs else set()
    return counted.pop().upper() if len(counted) == 1 and counted <= set(COMPONENTS) else ""


def lower_first(text: str) -> str:
    """Return a label in lower case, for use within a sentence."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def convert_unit(frame: pd.DataFrame, column: str) -> tuple[pd.Series, str]:
    """Return a column in its display unit, and its heading.

    That is the unit in the column's name, but for times per image in microseconds.
    """
    if column == "duration_s_per_image" and frame[column].min() < 1e-4:
        return frame[column] * 1e6, MICROSECONDS
    return frame[column], column
