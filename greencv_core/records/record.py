"""The run record and its store: one self-contained JSON file a run, whole or not there at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json, to_json

from greencv_core.records.backends.base import (
    AbsentError,
    Folder,
    Reserved,
    Stamp,
    Unreadable,
    one_line,
    place_of,
)
from greencv_core.records.backends.bundle import Packed, is_bundle
from greencv_core.utils.energy import (
    COMPONENTS,
    Component,
    Provenance,
    combined_uncertainty_j,
    weakest,
)
from greencv_core.utils.errors import BadInputError, GreencvError

SCHEMA_VERSION = 5
READABLE_VERSIONS = (1, 2, 3, 4, 5)
"""Version 1 tells no uncertainties; 1 and 2 tell of no stages, no weights, no reason of the end; of
runs that were stopped by a forecast, 4 and 5; of the computer that made it, 5 alone."""
DAMAGED = "damaged"
"""Folder in the store of files that were in it and are no records."""


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
        return sum([c.energy_j for c in self.components.values()])

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
    host: str = ""
    """Hash of the name of the computer that made it; tells computers of one kind apart."""
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
    """From the start of the run to the begin of the metered window."""
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
    uncounted: dict[Component, EnergyRecord] = Field(default_factory=dict, exclude=True)
    """What was metered besides, and is not the study's outcome; never in a file."""

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
    """A file of the store that gives no record, and why."""

    where: str
    reason: str
    unreadable: bool = False
    """Whether it may hold a record, but cannot be read here and now."""
    newer: int | None = None
    """The version of a record that a newer greencv wrote."""

    @property
    def lost(self) -> bool:
        """Whether no greencv would find a record in it."""
        return not self.unreadable and self.newer is None


class Room:
    """Space that is kept in a store for the record of one run."""

    def __init__(self, reserved: Reserved | None) -> None:
        self.reserved = reserved


class Store:
    """Run records, ``<run id>.json`` each, in a folder or where a URL leads to.

    A record is there whole or not at all, whoever looks and whenever the power fails; many may
    write at the same time.

    Parameters
    ----------
    location
        The path of a folder, shared or not, or a URL that fsspec knows: ``s3://bucket/prefix``.
        Or the path of a bundle, from which records are read alone: ``study.parquet``.
    """

    def __init__(self, location: str | Path) -> None:
        place = place_of(location)
        if isinstance(place, Folder) and is_bundle(place.folder):
            place = Packed(place.folder)
        self._place = place

    def __reduce__(self) -> tuple[type[Store], tuple[str | Path]]:
        return Store, (self.location,)

    @property
    def where(self) -> str:
        """Where the store is, for people; without credentials."""
        return self._place.where

    @property
    def location(self) -> str | Path:
        """Where the store is, for another process."""
        return self._place.location

    @property
    def is_bundle(self) -> bool:
        """Whether the store is a bundle: the runs of one study, and nothing is written to them."""
        return isinstance(self._place, Packed)

    @property
    def identity(self) -> str:
        """What is the same for all names of this store."""
        return self._place.identity()

    def where_of(self, run_id: str) -> str:
        """Return where the record of a run is, or would be, for people."""
        return self._place.where_of(_file_of(run_id))

    def prepare(self) -> list[Damaged]:
        """Make the store ready to be written to; return the damaged files that were moved aside.

        They are in its folder ``damaged``. What cannot be read stays where it is.

        Raises
        ------
        BadInputError
            The store cannot be written to, or a newer greencv wrote some of its records.
        GreencvError
            A server does not answer.
        """
        moved = []
        for entry in self.check_writable():
            if entry.lost:
                name = entry.where.rpartition("/")[2]
                moved.append(Damaged(self._place.move(name, DAMAGED), entry.reason))
        return moved

    def check_writable(self) -> list[Damaged]:
        """Make sure that the store can be written to; return its damaged files, left in place.

        Raises
        ------
        GreencvError
            See :meth:`prepare`.
        """
        self._place.prepare()
        damaged = [entry for entry in self.records() if isinstance(entry, Damaged)]
        newer = [entry.newer for entry in damaged if entry.newer is not None]
        if newer:
            were = "record was" if len(newer) == 1 else "records were"
            raise BadInputError(
                f"{self.where}: {len(newer)} {were} written by a newer greencv (schema "
                f"{max(newer)}; this one reads {READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}): "
                "update greencv or name another store"
            )
        return damaged

    @contextlib.contextmanager
    def room(self) -> Iterator[Room]:
        """Keep space for the record of a run that is about to begin; give back what is unused.

        Raises
        ------
        GreencvError
            There is no space left, or the store cannot be written to.
        """
        reserved = self._place.reserve()
        try:
            yield Room(reserved)
        finally:
            if reserved is not None:
                reserved.release()

    def write(self, record: RunRecord, room: Room | None = None) -> None:
        """Write a record; it replaces an earlier one of the same run, unless that is worth more.

        A failure replaces no success, nor an incomplete reading a complete one; a run that a
        forecast stopped is worth more than one that failed.

        Parameters
        ----------
        room
            Space that was kept for it.

        Raises
        ------
        GreencvError
            The store cannot be written to, the disk is full, or a newer greencv wrote a record of
            this run; nothing is left half written.
        """
        name, reserved = _file_of(record.run_id), room.reserved if room else None
        content = record.model_dump_json().encode()
        earlier = self.load(record.run_id)
        # Of two that are first at the same time, one is told so, and looks at the other's.
        if earlier is None:
            if self._place.create(name, content, reserved):
                return
            earlier, reserved = self.load(record.run_id), None
        if isinstance(earlier, Damaged) and earlier.newer is not None:
            raise GreencvError(
                f"{earlier.where}: was written by a newer greencv and is not replaced: update "
                "greencv or name another store"
            )
        if isinstance(earlier, RunRecord) and worth(earlier) > worth(record):
            return
        self._place.write(name, content, reserved)

    def put(self, name: str, content: bytes) -> None:
        """Write a file of the store, whole or not at all.

        Raises
        ------
        GreencvError
            See :meth:`write`.
        """
        self._place.write(name, content)

    def read(self, run_id: str) -> RunRecord | None:
        """Return the record of a run, or None where there is none that can be used."""
        loaded = self.load(run_id)
        return loaded if isinstance(loaded, RunRecord) else None

    def load(self, run_id: str) -> RunRecord | Damaged | None:
        """Return the record of a run, why its file holds none, or None where there is no file."""
        try:
            written = self.read_bytes(run_id)
        except Unreadable as error:
            return self._unreadable(run_id, error)
        return None if written is None else parse_record(self.where_of(run_id), written)

    def read_bytes(self, run_id: str) -> bytes | None:
        """Return the file of a run as it is; None where there is none.

        Raises
        ------
        Unreadable
            It is there, but cannot be read.
        """
        return self._place.read(_file_of(run_id))

    def stamps(self) -> dict[str, Stamp]:
        """Return what tells when the file of a run has changed, by the run's id."""
        try:
            found = self._place.stamps()
        except AbsentError:
            return {}
        return {name.removesuffix(".json"): stamp for name, stamp in found.items()}

    def check_readable(self) -> None:
        """Raise :class:`BadInputError` where there is no store that can be read."""
        self._place.stamps()

    def run_ids(self) -> list[str]:
        """Return the ids of the runs that the store has a file of, damaged ones included."""
        return sorted(self.stamps())

    def records(self) -> Iterator[RunRecord | Damaged]:
        """Return every record, and what lies in the store but is none."""
        return self.load_all(self.run_ids())

    def load_all(self, run_ids: Iterable[str]) -> Iterator[RunRecord | Damaged]:
        """Return the records of some runs, and why a file holds none; absent ones are left out."""
        for parsed in self._parsed(run_ids):
            yield parsed if isinstance(parsed, Damaged) else parsed[0]

    def table_rows(self, run_ids: Iterable[str]) -> Iterator[dict[str, Any] | Damaged]:
        """Return, as :meth:`load_all` does, the runs table's rows of the records."""
        for parsed in self._parsed(run_ids):
            yield parsed if isinstance(parsed, Damaged) else parsed[1]

    def _parsed(self, run_ids: Iterable[str]) -> Iterator[_Parsed | Damaged]:
        for name, written in self._place.read_all(_file_of(run_id) for run_id in run_ids):
            run_id = name.removesuffix(".json")
            if isinstance(written, Unreadable):
                yield self._unreadable(run_id, written)
            elif written is not None:
                parsed = _parse(name, written)
                if isinstance(parsed, Damaged):
                    parsed = replace(parsed, where=self.where_of(run_id))
                yield parsed

    def _unreadable(self, run_id: str, error: Unreadable) -> Damaged:
        reason = one_line(f"cannot be read: {error}")
        return Damaged(self.where_of(run_id), reason, unreadable=True)


def _file_of(run_id: str) -> str:
    return f"{run_id}.json"


def runs_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return the runs table: one row a run, tidy, with the unit in each column's name.

    Rows stand in the order of the records.
    """
    frame = pd.DataFrame([table_row(record) for record in records], columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(FIGURES, float))


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


def worth(record: RunRecord) -> tuple[int, bool]:
    """Return what makes a record better than another one of the same run: more is better."""
    return ("failed", "stopped", "finished").index(record.status), record.complete


def parse_record(where: str, written: bytes) -> RunRecord | Damaged:
    """Return the record that a file's bytes are, or why they are none; never an error.

    Parameters
    ----------
    where
        The file's place, which ends in the run's id and ``.json``.
    """
    parsed = _parse(where, written)
    return parsed if isinstance(parsed, Damaged) else parsed[0]


_Parsed = tuple[RunRecord, dict[str, Any]]
"""A record and its row of the runs table."""


def _parse(where: str, written: bytes) -> _Parsed | Damaged:
    try:
        content = _content(written)
    except (ValueError, RecursionError) as error:
        return Damaged(where, one_line(f"not a JSON file: {error}"))
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is not int or version not in READABLE_VERSIONS:
        known = f"{READABLE_VERSIONS[0]} to {READABLE_VERSIONS[-1]}"
        newer = version if type(version) is int and version > SCHEMA_VERSION else None
        reason = one_line(f"record version {str(version)[:40]}; this greencv reads {known}")
        return Damaged(where, reason, newer=newer)
    try:
        record = RunRecord.model_validate(content)
        flaw = _flaw(record)
        row = {} if flaw else table_row(record)
        flaw = flaw or _flaw_of_row(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        return Damaged(where, one_line(f"{field}: {first['msg']}"))
    except (RecursionError, OverflowError, ArithmeticError) as error:
        return Damaged(where, one_line(f"holds a figure that is none: {error}"))
    if flaw is None and f"{record.run_id}.json" != where.rpartition("/")[2]:
        flaw = f"holds the record of run {record.run_id}"
    return (record, row) if flaw is None else Damaged(where, one_line(flaw))


def _content(written: bytes) -> Any:
    """Return what JSON says; a name that is there twice is an error, as is half a character."""
    content = from_json(written, allow_inf_nan=False)
    # The fast parser keeps the last of them, and does not write again what it read then. Where
    # more is different, as blanks are and the forms of figures, the slow parser decides.
    if to_json(content) != written:
        json.loads(written, object_pairs_hook=_once)
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name is there twice")
    return content


def _flaw(record: RunRecord) -> str | None:
    """Return what is wrong with a record whose fields are each as they should be."""
    if not isinstance(record.environment.get("name"), str):
        return "environment.name: there is none"
    if record.epochs and record.final_epoch is not None:
        last = len(record.epochs)
        if not 0 <= record.final_epoch <= last:
            return f"final_epoch: {record.final_epoch}, where epochs are 1 to {last}"
    if record.trace is not None:
        times, powers = record.trace.time_s, record.trace.power_w
        if {c: len(t) for c, t in times.items()} != {c: len(p) for c, p in powers.items()}:
            return "trace: not a power for each time"
    return None


def _flaw_of_row(row: dict[str, Any]) -> str | None:
    for column, value in row.items():
        kind = type(value)
        if kind is int:
            if abs(value) > _LARGEST:
                return f"{column}: a number that is too large"
        elif kind not in _PLAIN:
            return f"{column}: neither a word nor a number"
    return None


_PLAIN = {str, float, bool, type(None)}
_LARGEST = 2**63 - 1
"""What tables and their files can hold."""


def table_row(record: RunRecord) -> dict[str, Any]:
    """Return a record's row of the runs table."""
    total, final = record.total, record.final
    components = total.components if total else {}
    if not record.complete:
        total = None  # what is left when a meter was lost is not the run's energy
    total_j = total.energy_j if total else None
    images, duration_s = record.images_processed, record.duration_s
    environment, dataset, machine = record.environment, record.dataset, record.machine
    gpu, cpu, ram = ((components | record.uncounted).get(name) for name in COMPONENTS)
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
COLUMNS = tuple(table_row(_EMPTY))
"""Of the runs table."""
FIGURES = tuple(column for column, value in table_row(_EMPTY).items() if isinstance(value, float))
"""Those that are numbers even where none is known."""
