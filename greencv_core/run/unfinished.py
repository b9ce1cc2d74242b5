"""Records of runs that failed, were stopped or never started; needs no torch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from greencv_core.estimation.run_forecast import EpochForecast
from greencv_core.machine import hardware
from greencv_core.records.record import RunRecord
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.paths import git_commit
from greencv_core.utils.secrets import without_secrets


def build_failed_record(run: PlannedRun, machine: hardware.Machine, reason: str) -> RunRecord:
    """Return the record of a run that did not reach its end."""
    return _build_record(run, machine, {"status": "failed", "reason": reason})


def build_not_started_record(
    run: PlannedRun, machine: hardware.Machine, forecast: EpochForecast, stop_above_j: float
) -> RunRecord:
    """Return the record of a run whose forecast exceeds the energy limit before it starts."""
    return _build_record(run, machine, build_stopped_fields(forecast, stop_above_j))


def _build_record(run: PlannedRun, machine: hardware.Machine, fields: dict[str, Any]) -> RunRecord:
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    identity = build_identity(run, machine)
    return RunRecord(**fields, **identity, complete=False, started_at=started_at)


def build_stopped_fields(forecast: EpochForecast, stop_above_j: float) -> dict[str, Any]:
    """Return the fields of a record that say why a forecast stopped the run."""
    return {
        "status": "stopped",
        "reason": forecast.reason(stop_above_j),
        "ended_by": "forecast",
        "forecast": forecast.record(stop_above_j),
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


def describe_error(error: BaseException) -> str:
    """Return an error as one line without secrets, as a record's reason."""
    text = " ".join(without_secrets(str(error)).split())
    if type(error).__name__ == "OutOfMemoryError":
        # torch continues with the memory of each process and with advice.
        return f"out of memory on the GPU: {text.partition('. ')[0]}"
    return f"{type(error).__name__}: {text[:500]}"
