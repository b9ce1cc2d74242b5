"""Where the report's figures come from: hardware, software, study and runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd

from greencv_core import __version__
from greencv_core.errors import BadInputError
from greencv_core.paths import git_commit
from greencv_core.records import RunRecord


def example_run(records: Sequence[RunRecord], architecture: str | None = None) -> RunRecord:
    """Return a run with its whole energy, of an architecture; None is the one of most GFLOPs.

    Raises
    ------
    BadInputError
        There is no such run.
    """
    metered = [r for r in records if r.status == "finished" and r.complete]
    ordered = sorted(metered, key=lambda r: r.gflops_per_image or 0.0, reverse=True)
    for record in ordered:
        if architecture in (None, record.architecture):
            return record
    present = ", ".join(sorted({r.architecture for r in ordered})) or "none"
    raise BadInputError(f"architecture {architecture}: no metered run; there are runs of {present}")


def dates_sentence(records: Sequence[RunRecord]) -> str:
    """Say when the runs were made, and when, by which version and from which commit the pages."""
    started = sorted(r.started_at for r in records)
    if not started:
        return "There are no runs yet."
    first, last = (datetime.fromisoformat(text) for text in (started[0], started[-1]))
    return (
        f"The runs were started between {_minute(first)} and {_minute(last)}; the figures were "
        f"computed from them at {_minute(datetime.now(UTC))} by greencv {__version__}, commit "
        f"{git_commit()}."
    )


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def machines_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row a machine: what it is and how many runs it made."""
    rows = [
        {
            "machine": r.machine["fingerprint"],
            "cpu": r.machine["cpu_model"],
            "cpus": int(r.machine["cpu_count"]),
            "memory_gib": round(r.machine["memory_bytes"] / 2**30),
            "accelerators": ", ".join(a["name"] for a in r.machine["accelerators"]) or "none",
            "system": r.machine["system"],
        }
        for r in records
    ]
    frame = pd.DataFrame(rows)
    return frame.groupby(list(frame.columns), sort=False).size().rename("runs").reset_index()


def versions_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row a package and version, with the runs made by it."""
    rows = [
        {"software": name, "version": version}
        for r in records
        for name, version in {**r.versions, "commit": r.git_commit}.items()
    ]
    frame = pd.DataFrame(rows)
    return frame.groupby(["software", "version"], sort=False).size().rename("runs").reset_index()


def meters_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row a component and meter: provenance and number of runs."""
    rows = [
        {"component": name.upper(), "provenance": part.provenance, "meter": part.source}
        for r in records
        if r.total is not None
        for name, part in r.total.components.items()
    ]
    rows += [
        {"component": "GPU", "provenance": "not metered", "meter": r.device_name}
        for r in records
        if r.total is not None and r.accelerator and "gpu" not in r.total.components
    ]
    frame = pd.DataFrame(rows, columns=["component", "provenance", "meter"])
    columns = list(frame.columns)
    return frame.groupby(columns, sort=False).size().rename("runs").reset_index()


def listing(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run: what it was and what it gave."""
    columns = [
        "run_id",
        "architecture",
        "environment",
        "seed",
        "duration_s",
        "energy_j",
        "f1_macro",
    ]
    return runs[columns]


def remarks(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that failed, were disturbed or lost a meter, each with what happened."""
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


def environments_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row a training environment: what its name stands for."""
    rows = [
        {
            "environment": r.environment["name"],
            "hardware": r.device_name,
            "device": r.environment["device"],
            "threads": r.environment["threads"],
            "precision": r.environment["precision"],
            "memory_format": r.environment["memory_format"],
            "power_limit_w": r.gpu.get("power_limit_w"),
        }
        for r in records
        if r.status == "finished"
    ]
    frame = pd.DataFrame(rows).drop_duplicates(ignore_index=True)
    return frame.dropna(axis="columns", how="all")
