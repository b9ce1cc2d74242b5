"""Tables of run records: runs, epochs, phases and power trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from greencv_core.analysis.images import image_error
from greencv_core.records.columns import NUMBERS, RUNS_COLUMNS
from greencv_core.records.record import EpochRecord, RunRecord, TraceRecord, sum_energies
from greencv_core.utils.energy import COMPONENTS, weakest

if TYPE_CHECKING:  # importing it takes a quarter of a second, and stores need no table
    import pandas as pd

_KNOWN_CLASSES = {"digits": 10, "mnist": 10, "fashionmnist": 10, "cifar10": 10, "cifar100": 100}
"""Classes of data sets by name, for records that do not state them."""


def runs_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return the runs table: one row per run, in the order of the records.

    :data:`greencv_core.records.columns.RUNS_COLUMNS` describes the columns.
    """
    import pandas as pd

    frame = pd.DataFrame([table_row(record) for record in records], columns=list(RUNS_COLUMNS))
    return frame.astype(dict.fromkeys(NUMBERS, float))


def epochs_table(records: list[RunRecord]) -> pd.DataFrame:
    """Return one row per epoch: run, architecture, environment, losses, correctness, energy."""
    import pandas as pd

    rows = [
        {
            "run_id": record.run_id,
            "architecture": record.architecture,
            "environment": record.environment["name"],
            "repetition": record.repetition,
            **epoch.model_dump(),
        }
        for record in records
        for epoch in record.epochs
    ]
    identity = ["run_id", "architecture", "environment", "repetition"]
    return pd.DataFrame(rows, columns=[*identity, *EpochRecord.model_fields])


def power_trace_table(record: RunRecord) -> pd.DataFrame:
    """Return the power trace of a run: time_s, component, power_w, provenance."""
    import pandas as pd

    trace = record.trace or TraceRecord(time_s={}, power_w={})
    parts = record.total.components if record.total else {}
    rows = [
        {
            "time_s": time_s,
            "component": component,
            "power_w": power_w,
            # A meter that failed during the run has no energy, but powers until then.
            "provenance": parts[component].provenance if component in parts else "incomplete",
        }
        for component in trace.time_s
        for time_s, power_w in zip(trace.time_s[component], trace.power_w[component], strict=True)
    ]
    return pd.DataFrame(rows, columns=["time_s", "component", "power_w", "provenance"])


def phases_table(record: RunRecord) -> pd.DataFrame:
    """Return the phases of a run: name, start_s, end_s, energy_j; NaN after a meter failed."""
    import pandas as pd

    expected = {component for phase in record.phases for component in phase.components}
    if record.accelerator:
        expected.add("gpu")
    rows = [
        {
            "name": p.name,
            "start_s": p.start_s,
            "end_s": p.end_s,
            "energy_j": p.energy_j if expected <= p.components.keys() else None,
        }
        for p in record.phases
    ]
    frame = pd.DataFrame(rows, columns=["name", "start_s", "end_s", "energy_j"])
    return frame.astype({"energy_j": float})


def table_row(record: RunRecord) -> dict[str, Any]:
    """Return the row of a record in the runs table."""
    return {
        "run_id": record.run_id,
        "study": record.study,
        "repetition": record.repetition,
        "order": record.order,
        "seed": record.seed,
        "status": record.status,
        **_condition(record),
        "epochs": len(record.epochs),
        "ended_by": record.ended_by,
        "images_processed": record.images_processed,
        "duration_s": _nan(record.duration_s),
        "duration_s_per_image": _per(record.duration_s, record.images_processed),
        "images_per_s": _per(record.images_processed, record.duration_s),
        **_energy(record),
        "device_utilization_pct": _nan(record.device_utilization_pct),
        **_correctness(record),
        "complete": record.complete,
        "disturbed": record.disturbed,
        "tries": record.tries,
        "problems": "; ".join([*record.problems, *([record.reason] if record.reason else [])]),
        "machine": record.machine.get("fingerprint"),
        "host": record.host,
        "cpu_model": record.machine.get("cpu_model"),
        "started_at": record.started_at,
        "session": record.session or None,
        "git_commit": record.git_commit,
        "greencv_version": record.versions.get("greencv"),
        "torch_version": record.versions.get("torch"),
        "record": f"{record.run_id}.json",
    }


def _condition(record: RunRecord) -> dict[str, Any]:
    environment, dataset = record.environment, record.dataset
    return {
        "architecture": record.architecture,
        "environment": environment.get("name"),
        "device": environment.get("device"),
        "device_name": record.device_name,
        "threads": environment.get("threads"),
        "wait_policy": record.wait_policy or None,
        "precision": environment.get("precision"),
        "memory_format": environment.get("memory_format"),
        "compile": environment.get("compile", False),
        "workers": environment.get("workers", 0),
        "power_limit_w": _nan(record.gpu.get("power_limit_w")),
        "dataset": dataset.get("name"),
        "classes": _classes(record),
        "image_size": dataset.get("image_size"),
        "batch_size": record.protocol.get("batch_size"),
        "gflops_per_image": _nan(record.gflops_per_image),
        "parameters": record.parameters,
    }


def _classes(record: RunRecord) -> int | None:
    if record.validation:
        return len(record.validation.images_by_class)
    chosen, name = record.dataset.get("classes"), record.dataset.get("name")
    return len(chosen) if isinstance(chosen, dict) else _KNOWN_CLASSES.get(str(name))


def _energy(record: RunRecord) -> dict[str, Any]:
    counted = record.total.components if record.total else {}
    # Without a meter that failed, the sum is not the run's energy.
    total = record.total if record.complete else None
    total_j = total.energy_j if total else None
    phases = [(p.name, p.energy_j) for p in record.phases] if record.complete else []
    row: dict[str, Any] = {
        "energy_j": _nan(total_j),
        "components": "+".join(name for name in COMPONENTS if name in counted) or None,
        "energy_uncertainty_j": _nan(total.uncertainty_j if total else None),
        "energy_j_per_image": _per(total_j, record.images_processed),
        "net_energy_j": _nan(record.net_energy_j),
        "power_w": _per(total_j, record.duration_s),
        "provenance": weakest(part.provenance for part in counted.values()) if counted else None,
        "train_energy_j": _phase_energy_j(phases, "training"),
        "validation_energy_j": _phase_energy_j(phases, "validation"),
        "emissions_gco2e": _nan(record.emissions_gco2e),
        "carbon_intensity_gco2e_per_kwh": _nan(record.carbon_intensity_gco2e_per_kwh),
    }
    metered = counted | record.excluded_components
    for name in COMPONENTS:
        part = metered.get(name)
        row[f"{name}_energy_j"] = part.energy_j if part else math.nan
        row[f"{name}_provenance"] = part.provenance if part else None
    return row


def _correctness(record: RunRecord) -> dict[str, Any]:
    final = record.final
    scores = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "auroc_macro")
    losses = ("train_loss", "validation_loss")
    meaningful = final if record.correctness_is_meaningful else None
    validation = record.validation if meaningful else None
    confusion = validation.confusion if validation else None
    counts = np.array(confusion) if confusion else None
    return {
        **{
            f"{name}_image_error": image_error(counts, name) if counts is not None else math.nan
            for name in ("accuracy", "f1_macro")
        },
        "validation_images": record.dataset.get("validation_images"),
        "validation_labels": (validation.labels or None) if validation else None,
        "validation_predictions": (validation.predictions or None) if validation else None,
        **{name: getattr(meaningful, name) if meaningful else math.nan for name in scores},
        **{name: getattr(final, name) if final else math.nan for name in losses},
    }


def _nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _per(numerator: float | None, denominator: float | None) -> float:
    return math.nan if numerator is None or not denominator else numerator / denominator


def _phase_energy_j(phases: Sequence[tuple[str, float | None]], phase: str) -> float:
    return _nan(sum_energies([energy_j for name, energy_j in phases if name.endswith(phase)]))
