"""Tables of run records: runs, epochs, phases and power trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from greencv_core.records.columns import NUMBERS, RUNS_COLUMNS
from greencv_core.records.record import EpochRecord, RunRecord, TraceRecord
from greencv_core.utils.energy import (
    COMPONENTS,
    weakest,
)


def runs_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return the runs table: one row a run, tidy, with the unit in each column's name.

    Rows stand in the order of the records.
    """
    frame = pd.DataFrame([table_row(record) for record in records], columns=list(RUNS_COLUMNS))
    return frame.astype(dict.fromkeys(NUMBERS, float))


def epochs_table(records: list[RunRecord]) -> pd.DataFrame:
    """Return one row an epoch: run, architecture, environment, losses, correctness, energy."""
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
    """Return a run's power trace: time_s, component, power_w, provenance."""
    trace = record.trace or TraceRecord(time_s={}, power_w={})
    parts = record.total.components if record.total else {}
    rows = [
        {
            "time_s": time_s,
            "component": component,
            "power_w": power_w,
            # A meter that was lost on the way has no joules, but powers until then.
            "provenance": parts[component].provenance if component in parts else "incomplete",
        }
        for component in trace.time_s
        for time_s, power_w in zip(trace.time_s[component], trace.power_w[component], strict=True)
    ]
    return pd.DataFrame(rows, columns=["time_s", "component", "power_w", "provenance"])


def phases_table(record: RunRecord) -> pd.DataFrame:
    """Return a run's phases: name, start_s, end_s, energy_j; no energy where a meter was lost."""
    wanted = {component for phase in record.phases for component in phase.components}
    if record.accelerator:
        wanted.add("gpu")
    rows = [
        {
            "name": p.name,
            "start_s": p.start_s,
            "end_s": p.end_s,
            "energy_j": p.energy_j if wanted <= p.components.keys() else None,
        }
        for p in record.phases
    ]
    frame = pd.DataFrame(rows, columns=["name", "start_s", "end_s", "energy_j"])
    return frame.astype({"energy_j": float})


def table_row(record: RunRecord) -> dict[str, Any]:
    """Return a record's row of the runs table."""
    total, final = record.total, record.final
    components = total.components if total else {}
    if not record.complete:
        total = None  # what is left when a meter was lost is not the run's energy
    total_j = total.energy_j if total else None
    images, duration_s = record.images_processed, record.duration_s
    environment, dataset, machine = record.environment, record.dataset, record.machine
    gpu, cpu, ram = ((components | record.excluded_components).get(name) for name in COMPONENTS)
    meaningful = final if record.correctness_is_meaningful else None
    return {
        "run_id": record.run_id,
        "study": record.study,
        "architecture": record.architecture,
        "environment": environment.get("name"),
        "repetition": record.repetition,
        "order": record.order,
        "seed": record.seed,
        "status": record.status,
        "device": environment.get("device"),
        "device_name": record.device_name,
        "threads": environment.get("threads"),
        "precision": environment.get("precision"),
        "memory_format": environment.get("memory_format"),
        "compile": environment.get("compile", False),
        "workers": environment.get("workers", 0),
        "power_limit_w": _nan(record.gpu.get("power_limit_w")),
        "dataset": dataset.get("name"),
        "image_size": dataset.get("image_size"),
        "batch_size": record.protocol.get("batch_size"),
        "gflops_per_image": _nan(record.gflops_per_image),
        "parameters": record.parameters,
        "epochs": len(record.epochs),
        "ended_by": record.ended_by,
        "images_processed": images,
        "duration_s": _nan(duration_s),
        "energy_j": _nan(total_j),
        "components": "+".join(name for name in COMPONENTS if name in components) or None,
        "energy_uncertainty_j": _nan(total.uncertainty_j if total else None),
        "energy_j_per_image": _per(total_j, images),
        "net_energy_j": _nan(record.net_energy_j),
        "power_w": _per(total_j, duration_s),
        "duration_s_per_image": _per(duration_s, images),
        "images_per_s": _per(images, duration_s),
        "gpu_energy_j": gpu.energy_j if gpu else _NAN,
        "cpu_energy_j": cpu.energy_j if cpu else _NAN,
        "ram_energy_j": ram.energy_j if ram else _NAN,
        "provenance": weakest(part.provenance for part in components.values())
        if components
        else None,
        "gpu_provenance": gpu.provenance if gpu else None,
        "cpu_provenance": cpu.provenance if cpu else None,
        "ram_provenance": ram.provenance if ram else None,
        "train_energy_j": _phase_energy_j(record, "training"),
        "validation_energy_j": _phase_energy_j(record, "validation"),
        "emissions_gco2e": _nan(record.emissions_gco2e),
        "carbon_intensity_gco2e_per_kwh": _nan(record.carbon_intensity_gco2e_per_kwh),
        "device_utilization_pct": _nan(record.device_utilization_pct),
        "accuracy": _nan(meaningful.accuracy if meaningful else None),
        "precision_macro": _nan(meaningful.precision_macro if meaningful else None),
        "recall_macro": _nan(meaningful.recall_macro if meaningful else None),
        "f1_macro": _nan(meaningful.f1_macro if meaningful else None),
        "auroc_macro": _nan(meaningful.auroc_macro if meaningful else None),
        "train_loss": _nan(final.train_loss if final else None),
        "validation_loss": _nan(final.validation_loss if final else None),
        "complete": record.complete,
        "contended": record.contended,
        "problems": "; ".join([*record.problems, *([record.reason] if record.reason else [])]),
        "machine": machine.get("fingerprint"),
        "host": record.host,
        "cpu_model": machine.get("cpu_model"),
        "started_at": record.started_at,
        "git_commit": record.git_commit,
        "greencv_version": record.versions.get("greencv"),
        "torch_version": record.versions.get("torch"),
        "record": f"{record.run_id}.json",
    }


_NAN = float("nan")


def _nan(value: float | None) -> float:
    return _NAN if value is None else float(value)


def _per(numerator: float | None, denominator: float | None) -> float:
    return _NAN if numerator is None or not denominator else numerator / denominator


def _phase_energy_j(record: RunRecord, word: str) -> float:
    if not record.complete:
        return _NAN
    parts = [phase.energy_j for phase in record.phases if phase.name.endswith(word)]
    known = [energy_j for energy_j in parts if energy_j is not None]
    return sum(known) if known and len(known) == len(parts) else _NAN
