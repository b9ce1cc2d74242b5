"""Records of runs that failed or never started; needs no torch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from greencv_core.estimation.run_forecast import EpochForecast
from greencv_core.machine import hardware
from greencv_core.records.record import (
    RunRecord,
)
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.paths import git_commit


def build_failed_record(run: PlannedRun, machine: hardware.Machine, reason: str) -> RunRecord:
    """Return the record of a run that did not come to its end."""
    return RunRecord(
        status="failed",
        reason=reason,
        complete=False,
        **build_identity(run, machine),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def build_not_started_record(
    run: PlannedRun, machine: hardware.Machine, forecast: EpochForecast, limit_j: float
) -> RunRecord:
    """Return the record of a run that is not begun: it would take more than a limit."""
    return RunRecord(
        **build_stopped_fields(forecast, limit_j),
        complete=False,
        **build_identity(run, machine),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def build_stopped_fields(forecast: EpochForecast, limit_j: float) -> dict[str, Any]:
    """Return the fields of a record that say why a forecast stopped the run."""
    return {
        "status": "stopped",
        "reason": forecast.reason(limit_j),
        "ended_by": "forecast",
        "forecast": forecast.record(limit_j),
    }


def build_identity(run: PlannedRun, machine: hardware.Machine) -> dict[str, object]:
    """Return the fields of a record that are known before the run."""
    return {
        "run_id": run.run_id,
        "study": run.study,
        "architecture": run.architecture,
        "environment": run.environment.model_dump(mode="json"),
        "dataset": run.dataset.model_dump(mode="json"),
        "protocol": run.protocol.model_dump(mode="json"),
        "carbon": run.carbon.model_dump(mode="json"),
        "repetition": run.repetition,
        "order": run.order,
        "seed": run.seed,
        "machine": machine.as_dict(),
        "host": hardware.host(),
        "accelerator": run.accelerator,
        "versions": hardware.software_versions(),
        "git_commit": git_commit(),
    }
