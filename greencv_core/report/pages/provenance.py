"""Hardware, software, meters and runs behind the report."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from greencv_core import __version__
from greencv_core.records.record import EnergyRecord, RunRecord
from greencv_core.utils.energy import COVERAGE_FACTOR, weakest
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.paths import git_commit
from greencv_core.utils.text import listed


def example_run(records: Sequence[RunRecord], architecture: str | None = None) -> RunRecord:
    """Return a run with its whole energy, of an architecture; None is the one of most GFLOPs."""
    metered = [r for r in records if r.status == "finished" and r.complete]
    ordered = sorted(metered, key=lambda r: r.gflops_per_image or 0.0, reverse=True)
    for record in ordered:
        if architecture in (None, record.architecture):
            return record
    present = ", ".join(sorted({r.architecture for r in ordered})) or "none"
    raise BadInputError(f"architecture {architecture}: no metered run; there are runs of {present}")


def dates_sentence(records: Sequence[RunRecord]) -> str:
    """State when the runs started, and when, by which version and commit the pages were built."""
    if not records:
        return "There are no runs yet."
    started = run_dates(records) or "The records do not say when the runs started."
    return (
        f"{started} This report was computed at {_minute(datetime.now(UTC))} by greencv "
        f"{__version__}, commit {git_commit()}."
    )


def run_dates(records: Sequence[RunRecord]) -> str:
    """State when the first and the last run started; nothing if no record says."""
    started = sorted(moment for r in records if (moment := _moment(r.started_at)) is not None)
    if not started:
        return ""
    return f"The runs started between {_minute(started[0])} and {_minute(started[-1])}."


def _moment(text: str) -> datetime | None:
    """Parse a record's time, as UTC if it has no zone; None if it is invalid."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _field(fields: Mapping[str, Any], name: str) -> Any:
    # A record may hold anything here.
    value = fields.get(name)
    return value if isinstance(value, str | int | float) else "unknown"


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def machines_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row for each machine, with its number of runs."""
    rows = [
        {
            "machine": _field(r.machine, "fingerprint"),
            "cpu": _field(r.machine, "cpu_model"),
            "cpus": _field(r.machine, "cpu_count"),
            "memory_gib": _gib(r.machine.get("memory_bytes")),
            "accelerators": _names(r.machine.get("accelerators")) or "none",
            "system": _field(r.machine, "system"),
        }
        for r in records
    ]
    return _count_runs(rows)


def _count_runs(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return each different row once, with the number of runs that have it."""
    frame = pd.DataFrame(rows)
    return frame.groupby(list(frame.columns), sort=False).size().rename("runs").reset_index()


def _gib(size: Any) -> int | str:
    return round(size / 2**30) if isinstance(size, int) else "unknown"


def _names(accelerators: Any) -> str:
    found = accelerators if isinstance(accelerators, list) else []
    return ", ".join(str(_field(one, "name")) for one in found if isinstance(one, dict))


def versions_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row for each package and version, with its number of runs."""
    rows = [
        {"software": name, "version": version}
        for r in records
        for name, version in {**r.versions, "commit": r.git_commit}.items()
    ]
    return _count_runs(rows)


def meters_sentence(records: Sequence[RunRecord]) -> str:
    """Say how the energy of each component is known."""
    meters = meters_table(records)
    parts = [
        f"{listed(list(dict.fromkeys(part['component'])))} energy is {_KNOWN[str(provenance)]}"
        for provenance, part in meters.groupby("provenance", sort=False)
    ]
    return f"{'; '.join(parts)}." if parts else "No run has metered energy."


_KNOWN = {
    "measured": "read from hardware counters",
    "sampled": "summed from power readings",
    "estimated": "estimated by a model",
    "not metered": "not metered",
}


def meters_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row for each component and meter: provenance and number of runs.

    A column says which components the study counts, if it does not count all.
    """
    rows = [
        {
            "component": name.upper(),
            "provenance": part.provenance,
            "meter": f"{part.source}, gaps bridged" if part.bridged else part.source,
            "counted": name in r.total.components,
        }
        for r in records
        if r.total is not None
        for name, part in (r.total.components | r.excluded_components).items()
    ]
    rows += [
        {"component": "GPU", "provenance": "not metered", "meter": r.device_name, "counted": True}
        for r in records
        if r.total is not None
        and r.accelerator
        and "gpu" not in r.total.components | r.excluded_components
    ]
    frame = pd.DataFrame(rows, columns=["component", "provenance", "meter", "counted"])
    columns = [name for name in frame if name != "counted" or not frame["counted"].all()]
    return frame.groupby(columns, sort=False).size().rename("runs").reset_index()


def runs_listing(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each run: its condition and its results."""
    shown = ["run_id", "architecture", "environment", "seed", "duration_s", "energy_j", "f1_macro"]
    return runs[shown]


def problem_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that failed, were disturbed or lost a meter, with the reason."""
    marked = runs[(runs["status"] != "finished") | (runs["problems"] != "")]
    return marked[["run_id", "architecture", "environment", "status", "problems"]]


def idle_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return idle power by environment and component (median over the runs' sessions)."""
    rows = [
        {
            "environment": r.environment["name"],
            "component": name.upper(),
            "provenance": r.total.components[name].provenance,
            "power_w": power_w,
        }
        for r in records
        for name, power_w in r.idle_power_w.items()
        if r.total is not None and name in r.total.components
    ]
    by = ["environment", "component", "provenance"]
    frame = pd.DataFrame(rows, columns=[*by, "power_w"])
    return frame.groupby(by, sort=False).median().reset_index()


def uncertainty_table(record: RunRecord) -> pd.DataFrame:
    """Return energy, uncertainty and 95% interval of a run, by component and in total."""
    parts = record.total.components if record.total else {}
    rows = [
        _uncertainty_row(name.upper(), part.energy_j, part.uncertainty_j)
        | {"resolution_s": part.resolution_s, "provenance": part.provenance}
        for name, part in parts.items()
    ]
    if record.total is not None and len(parts) > 1 and record.total.energy_j is not None:
        provenance = weakest(part.provenance for part in parts.values())
        total = _uncertainty_row("sum", record.total.energy_j, record.total.uncertainty_j)
        rows.append(total | {"resolution_s": None, "provenance": provenance})
    columns = [*_uncertainty_row("", 1.0, None), "resolution_s", "provenance"]
    return pd.DataFrame(rows, columns=columns)


def _uncertainty_row(
    component: str, energy_j: float, uncertainty_j: float | None
) -> dict[str, str | float | None]:
    known = uncertainty_j is not None and energy_j > 0
    half_j = COVERAGE_FACTOR * (uncertainty_j or 0.0)
    return {
        "component": component,
        "energy_j": energy_j,
        "uncertainty_j": uncertainty_j,
        "relative_uncertainty": (uncertainty_j or 0.0) / energy_j if known else None,
        "interval_low_j": energy_j - half_j if known else None,
        "interval_high_j": energy_j + half_j if known else None,
    }


def comparisons_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row for each pair of meters that were read in the same windows.

    Columns: the ratio of their readings, and the share of runs in which the two agree (the
    difference is within its 95% interval, by the uncertainties of both).
    """
    rows = [
        {
            "component": comparison.component.upper(),
            "first": f"{comparison.first.source} ({comparison.first.provenance})",
            "second": f"{comparison.second.source} ({comparison.second.provenance})",
            "ratio": comparison.second.energy_j / comparison.first.energy_j,
            "agree": _agree(comparison.first, comparison.second),
        }
        for record in records
        for comparison in record.comparisons
        if comparison.first.energy_j > 0
    ]
    by = ["component", "first", "second"]
    frame = pd.DataFrame(rows, columns=[*by, "ratio", "agree"]).astype({"agree": float})
    return (
        frame.groupby(by, sort=False)
        .agg(
            n=("ratio", "size"),
            second_to_first=("ratio", "median"),
            lowest_ratio=("ratio", "min"),
            highest_ratio=("ratio", "max"),
            agreement=("agree", "mean"),
        )
        .reset_index()
    )


def _agree(first: EnergyRecord, second: EnergyRecord) -> bool | None:
    if first.uncertainty_j is None or second.uncertainty_j is None:
        return None
    allowed_j = COVERAGE_FACTOR * math.hypot(first.uncertainty_j, second.uncertainty_j)
    return abs(first.energy_j - second.energy_j) <= allowed_j


def gpu_states_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return the GPU's state (utilisation, memory, temperature, clocks) by environment."""
    rows = [
        {
            "environment": r.environment["name"],
            **{name: r.gpu.get(name) for name in _GPU_COLUMNS},
            "memory_used_gib": (r.gpu.get("memory_used_bytes") or math.nan) / 2**30,
            "slowed_by": tuple(r.gpu_slowed_share),
        }
        for r in records
        if r.gpu
    ]
    columns = ["environment", *_GPU_COLUMNS]
    frame = pd.DataFrame(rows, columns=[*columns, "slowed_by"])
    numbers = frame[columns].astype(dict.fromkeys(_GPU_COLUMNS, float))
    medians = numbers.groupby("environment", sort=False).median()
    reasons = frame.groupby("environment", sort=False)["slowed_by"].agg(
        lambda each: ", ".join(sorted({*itertools.chain(*each)})) or "nothing"
    )
    return medians.join(reasons).reset_index()


_GPU_COLUMNS = ("utilization_pct", "memory_used_gib", "temperature_c", "sm_clock_mhz",
                "memory_clock_mhz", "power_limit_w")  # fmt: skip


def environments_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row for each training environment: its settings."""
    rows = [
        {
            "environment": r.environment["name"],
            "hardware": r.device_name,
            "device": _field(r.environment, "device"),
            "threads": _field(r.environment, "threads"),
            "wait_policy": r.wait_policy or None,
            "precision": _field(r.environment, "precision"),
            "memory_format": _field(r.environment, "memory_format"),
            "batch_size": _field(r.protocol, "batch_size"),
            # Settings that no environment uses get no column.
            "compile": True if r.environment.get("compile") else None,
            "workers": _field(r.environment, "workers") if r.environment.get("workers") else None,
            "power_limit_w": r.gpu.get("power_limit_w"),
        }
        for r in records
        if r.status == "finished"
    ]
    frame = pd.DataFrame(rows).drop_duplicates(ignore_index=True)
    used = frame.dropna(axis="columns", how="all")
    return used.assign(**{c: used[c].notna() for c in ("compile",) if c in used})
