"""The run record and its store: one self-contained JSON file a run, whole or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from greencv_core.energy import Component, Provenance, combined_uncertainty_j, weakest
from greencv_core.errors import BadInputError, GreencvError

SCHEMA_VERSION = 4
READABLE_VERSIONS = (1, 2, 3, 4)
"""Version 1 tells no uncertainties; 1 and 2 tell of no stages, no weights, no reason of the end; of
runs that were stopped by a forecast, 4 alone."""


class _Record(BaseModel):
    # JSON has no NaN; pydantic would write null and refuse to read it back.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class EnergyRecord(_Record):
    """Energy of one component: joules, where they come from, which meter told, how sure it is."""

    energy_j: float
    provenance: Provenance
    source: str
    uncertainty_j: float | None = None
    """Standard uncertainty; None where it is not known."""
    resolution_s: float | None = None
    """Refresh period of the meter."""


class WindowRecord(_Record):
    """Energy of a window by component; a component that was not metered is absent, never 0."""

    name: str
    start_s: float
    end_s: float
    components: dict[Component, EnergyRecord]

    @property
    def energy_j(self) -> float | None:
        """Sum over the components."""
        if not self.components:
            return None
        return sum(c.energy_j for c in self.components.values())

    @property
    def uncertainty_j(self) -> float | None:
        """Standard uncertainty of the sum."""
        return combined_uncertainty_j(
            (c.uncertainty_j, c.provenance) for c in self.components.values()
        )


class ComparisonRecord(_Record):
    """What two meters told of the same component in the same run."""

    component: Component
    first: EnergyRecord
    """The better meter's: the one that counts."""
    second: EnergyRecord


class EpochRecord(_Record):
    """One epoch's losses, correctness and energy."""

    epoch: int
    stage: str = "main"
    learning_rate: float | None = None
    train_loss: float
    validation_loss: float
    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    auroc_macro: float
    duration_s: float
    energy_j: float | None


class TraceRecord(_Record):
    """The power trace, one list of times (s) and of powers (W) by component."""

    time_s: dict[Component, list[float]]
    power_w: dict[Component, list[float]]


class ForecastRecord(_Record):
    """What a run was forecast to take when that stopped it, with the 95 % interval."""

    energy_j: float | None
    """None where nothing told but what was spent."""
    low_j: float
    """At least what was spent already."""
    high_j: float | None
    after_epoch: int
    limit_j: float
    """What it was not to exceed."""


class RunRecord(_Record):
    """Everything that one run produced."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    status: Literal["finished", "stopped", "failed"]
    reason: str = ""
    """Why it failed, or was stopped."""
    study: str
    architecture: str
    environment: dict[str, Any]
    dataset: dict[str, Any]
    protocol: dict[str, Any]
    carbon: dict[str, Any]
    repetition: int
    order: int
    seed: int
    started_at: str
    machine: dict[str, Any]
    accelerator: str = ""
    """Identity of the GPU that it was trained on; empty for the CPU."""
    versions: dict[str, str]
    git_commit: str
    device_name: str = ""
    gflops_per_image: float | None = None
    parameters: int | None = None
    data_sha256: str = ""
    weights_sha256: str = ""
    """Of the weights that training started from; empty where they were drawn."""
    setup_s: float | None = None
    """From the start of the run's process to the begin of the metered window."""
    epochs: list[EpochRecord] = Field(default_factory=list)
    ended_by: Literal["epochs", "early stopping", "target", "budget", "forecast"] = "epochs"
    """What the training came to its end by."""
    forecast: ForecastRecord | None = None
    """What stopped it, of a stopped run."""
    final_epoch: int | None = None
    """The epoch whose weights the model has in the end; the last one where None."""
    images_processed: int = 0
    duration_s: float | None = None
    total: WindowRecord | None = None
    phases: list[WindowRecord] = Field(default_factory=list)
    idle_power_w: dict[Component, float] = Field(default_factory=dict)
    net_energy_j: float | None = None
    emissions_gco2e: float | None = None
    carbon_intensity_gco2e_per_kwh: float | None = None
    device_utilization_pct: float | None = None
    gpu: dict[str, float | None] = Field(default_factory=dict)
    gpu_slowed_share: dict[str, float] = Field(default_factory=dict)
    """What held the GPU's clocks back, and in what share (0 to 1) of the looks at it."""
    comparisons: list[ComparisonRecord] = Field(default_factory=list)
    complete: bool = True
    contended: bool = False
    problems: list[str] = Field(default_factory=list)
    trace: TraceRecord | None = None

    @property
    def final(self) -> EpochRecord | None:
        """The epoch whose weights the model has in the end; None of a run without an epoch."""
        if not self.epochs:
            return None
        return self.epochs[(self.final_epoch or len(self.epochs)) - 1]

    @property
    def correctness_is_meaningful(self) -> bool:
        """Whether there was anything to be right about: synthetic images hold nothing."""
        return self.dataset.get("name") != "synthetic"

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_versions(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "stopped_early" not in content:
            return content
        early = content["stopped_early"]
        kept = {key: value for key, value in content.items() if key != "stopped_early"}
        return {**kept, "ended_by": "early stopping" if early else "epochs"}


@dataclass(frozen=True)
class Damaged:
    """A file of the store that is no record, and why."""

    path: Path
    reason: str


class Store:
    """A folder of run records, ``<run id>.json`` each.

    A record is written beside its place, flushed to the disk and then renamed: whoever looks,
    and whenever the power fails, finds a whole record or none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path_of(self, run_id: str) -> Path:
        """Return where the record of a run is, or would be."""
        return self.folder / f"{run_id}.json"

    def write(self, record: RunRecord) -> Path:
        """Write a record; it replaces an earlier one of the same run, unless that is worth more.

        A failure replaces no success, nor an incomplete reading a complete one; a run that a
        forecast stopped is worth more than one that failed.

        Raises
        ------
        GreencvError
            The folder cannot be written to, or the disk is full; nothing is left half written.
        """
        path = self.path_of(record.run_id)
        earlier = self.read(record.run_id)
        if earlier is not None and worth(earlier) > worth(record):
            return path
        self.put(path, record.model_dump_json().encode())
        return path

    def put(self, path: Path, content: bytes) -> None:
        """Write a file of the store, whole or not at all.

        Raises
        ------
        GreencvError
            See :meth:`write`.
        """
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=self.folder, prefix=".writing-", delete=False
            ) as file:
                temporary = Path(file.name)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # Temporary files are private; records are for whoever may read the folder.
            temporary.chmod(0o644)
            temporary.replace(path)
        except OSError as error:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise GreencvError(f"{path}: cannot be written: {error.strerror}") from error

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep others from training into this store, and what they left half written out of it.

        Raises
        ------
        BadInputError
            The folder cannot be written to, or another greencv is at it.
        """
        lock = filelock.FileLock(self.folder / ".lock", timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout as error:
            raise BadInputError(
                f"{self.folder}: another greencv is at this folder; wait for it, or name "
                "another one with --store"
            ) from error
        except OSError as error:
            raise BadInputError(f"{self.folder}: cannot be written to: {error.strerror}") from error
        try:
            for leftover in self.folder.glob(".writing-*"):
                leftover.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def read(self, run_id: str) -> RunRecord | None:
        """Return the record of a run, or None where there is none that can be used."""
        path = self.path_of(run_id)
        loaded = load_record(path) if path.is_file() else None
        return loaded if isinstance(loaded, RunRecord) else None

    def run_ids(self) -> list[str]:
        """Return the ids of the runs that the store has a file of, damaged ones included."""
        return sorted(path.stem for path in self.folder.glob("[!.]*.json"))

    def records(self) -> Iterator[RunRecord | Damaged]:
        """Return every record, and what lies in the store but is none."""
        for run_id in self.run_ids():
            yield load_record(self.path_of(run_id))


def runs_table(records: list[RunRecord]) -> pd.DataFrame:
    """Return the runs table: one row a run, tidy, with the unit in each column's name.

    Rows stand in the order of the records.
    """
    columns = list(_row(_EMPTY))
    frame = pd.DataFrame([_row(record) for record in records], columns=columns)
    numeric = [c for c in columns if isinstance(_row(_EMPTY)[c], float)]
    return frame.astype(dict.fromkeys(numeric, float))


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


def trace_table(record: RunRecord) -> pd.DataFrame:
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
    """Return a run's phases: name, start_s, end_s, energy_j."""
    rows = [
        {"name": p.name, "start_s": p.start_s, "end_s": p.end_s, "energy_j": p.energy_j}
        for p in record.phases
    ]
    return pd.DataFrame(rows, columns=["name", "start_s", "end_s", "energy_j"])


def worth(record: RunRecord) -> tuple[int, bool]:
    """Return what makes a record better than another one of the same run: more is better."""
    return ("failed", "stopped", "finished").index(record.status), record.complete


def load_record(path: Path) -> RunRecord | Damaged:
    """Return the record that a file holds, or why it holds none."""
    try:
        written = path.read_bytes()
    except OSError as error:
        return Damaged(path, f"cannot be read: {error.strerror}")
    return parse_record(path, written)


def parse_record(path: Path, written: bytes) -> RunRecord | Damaged:
    """Return the record that a file's bytes are, or why they are none."""
    try:
        content = json.loads(written)
    except ValueError as error:
        return Damaged(path, f"not a JSON file: {error}")
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in READABLE_VERSIONS:
        known = f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}"
        return Damaged(path, f"record version {version}; this greencv reads {known}")
    try:
        record = RunRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return Damaged(path, f"{field}: {first['msg']}")
    if record.run_id != path.stem:
        return Damaged(path, f"holds the record of run {record.run_id}")
    return record


def _row(record: RunRecord) -> dict[str, Any]:
    nan = float("nan")
    components = record.total.components if record.total else {}
    # What is left when a meter was lost is not the run's energy.
    total = record.total if record.complete else None
    total_j = total.energy_j if total else None
    final = record.final
    images, duration_s = record.images_processed, record.duration_s

    def component(name: Component) -> tuple[float, str | None]:
        part = components.get(name)
        return (part.energy_j, part.provenance) if part else (nan, None)

    def phase_energy(word: str) -> float:
        parts = [p.energy_j for p in record.phases if p.name.endswith(word)]
        return nan if not parts or None in parts else sum(p for p in parts if p is not None)

    def correctness(name: str) -> float:
        return nan if final is None else float(getattr(final, name))

    def meaningful(name: str) -> float:
        return correctness(name) if record.correctness_is_meaningful else nan

    def per(numerator: float | None, denominator: float | None) -> float:
        return nan if numerator is None or not denominator else numerator / denominator

    gpu, cpu, ram = component("gpu"), component("cpu"), component("ram")
    return {
        "run_id": record.run_id,
        "study": record.study,
        "architecture": record.architecture,
        "environment": record.environment.get("name"),
        "repetition": record.repetition,
        "order": record.order,
        "seed": record.seed,
        "status": record.status,
        "device": record.environment.get("device"),
        "device_name": record.device_name,
        "threads": record.environment.get("threads"),
        "precision": record.environment.get("precision"),
        "memory_format": record.environment.get("memory_format"),
        "compile": record.environment.get("compile", False),
        "workers": record.environment.get("workers", 0),
        "power_limit_w": _nan(record.gpu.get("power_limit_w")),
        "dataset": record.dataset.get("name"),
        "image_size": record.dataset.get("image_size"),
        "batch_size": record.protocol.get("batch_size"),
        "gflops_per_image": _nan(record.gflops_per_image),
        "parameters": record.parameters,
        "epochs": len(record.epochs),
        "ended_by": record.ended_by,
        "images_processed": images,
        "duration_s": _nan(duration_s),
        "energy_j": _nan(total_j),
        "energy_uncertainty_j": _nan(total.uncertainty_j if total else None),
        "energy_j_per_image": per(total_j, images),
        "net_energy_j": _nan(record.net_energy_j),
        "power_w": per(total_j, duration_s),
        "duration_s_per_image": per(duration_s, images),
        "images_per_s": per(images, duration_s),
        "gpu_energy_j": gpu[0],
        "cpu_energy_j": cpu[0],
        "ram_energy_j": ram[0],
        "provenance": weakest(part.provenance for part in components.values())
        if components
        else None,
        "gpu_provenance": gpu[1],
        "cpu_provenance": cpu[1],
        "ram_provenance": ram[1],
        "train_energy_j": phase_energy("training"),
        "validation_energy_j": phase_energy("validation"),
        "emissions_gco2e": _nan(record.emissions_gco2e),
        "carbon_intensity_gco2e_per_kwh": _nan(record.carbon_intensity_gco2e_per_kwh),
        "device_utilization_pct": _nan(record.device_utilization_pct),
        "accuracy": meaningful("accuracy"),
        "precision_macro": meaningful("precision_macro"),
        "recall_macro": meaningful("recall_macro"),
        "f1_macro": meaningful("f1_macro"),
        "auroc_macro": meaningful("auroc_macro"),
        "train_loss": correctness("train_loss"),
        "validation_loss": correctness("validation_loss"),
        "complete": record.complete,
        "contended": record.contended,
        "problems": "; ".join([*record.problems, *([record.reason] if record.reason else [])]),
        "machine": record.machine.get("fingerprint"),
        "cpu_model": record.machine.get("cpu_model"),
        "started_at": record.started_at,
        "git_commit": record.git_commit,
        "greencv_version": record.versions.get("greencv"),
        "torch_version": record.versions.get("torch"),
        "record": f"{record.run_id}.json",
    }


def _nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


_EMPTY = RunRecord(
    run_id="",
    status="failed",
    study="",
    architecture="",
    environment={},
    dataset={},
    protocol={},
    carbon={},
    repetition=0,
    order=0,
    seed=0,
    started_at="",
    machine={},
    versions={},
    git_commit="",
)
