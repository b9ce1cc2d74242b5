"""The run record: everything that one run produced, as one self-contained JSON file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from greencv_core.utils.confusion import (
    MOST_CLASSES,
    Classes,
    count_pairs,
    decode_classes,
    encode_classes,
)
from greencv_core.utils.energy import Component, Provenance, combined_uncertainty_j

SCHEMA_VERSION = 9
MOST_CONFUSED = 100
"""Classes up to which a record has a confusion matrix."""
MOST_PREDICTIONS = 10_000
"""Validation images up to which a record has the prediction of each."""


class _Record(BaseModel):
    # JSON has no NaN; pydantic would write null and refuse to read it back.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class EnergyRecord(_Record):
    """Energy of one component, with provenance, meter and uncertainty."""

    energy_j: float
    provenance: Provenance
    source: str
    """Name of the meter."""
    uncertainty_j: float | None = None
    """Standard uncertainty in J; None if unknown."""
    resolution_s: float | None = None
    """Refresh period of the meter in s."""
    bridged: str = ""
    """How long there was no reading and the energy was interpolated, and why."""


class WindowRecord(_Record):
    """Energy of a time window by component; one that was not metered is missing, never 0."""

    name: str
    start_s: float
    end_s: float
    components: dict[Component, EnergyRecord]

    @property
    def energy_j(self) -> float | None:
        """Sum of the components in J; None if none was metered."""
        components = self.components.values()
        return sum([c.energy_j for c in components]) if components else None

    @property
    def uncertainty_j(self) -> float | None:
        """Standard uncertainty of the sum in J."""
        return combined_uncertainty_j(
            (c.uncertainty_j, c.provenance) for c in self.components.values()
        )


class ComparisonRecord(_Record):
    """Readings of the same component by two meters in the same run."""

    component: Component
    first: EnergyRecord
    """Reading of the better meter, which is part of the total."""
    second: EnergyRecord


class WallRecord(_Record):
    """The plug's energy by a meter at the wall: a witness, never part of a sum."""

    energy: EnergyRecord | None = None
    """Energy of the run's window; None if the meter failed."""
    explained_share: float | None = None
    """Sum of all metered components over the plug's energy; None if one of them is unknown."""
    problem: str = ""
    """Why the energy is missing, or contradicts the components."""


class EpochRecord(_Record):
    """Losses, correctness and energy of one epoch."""

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


class ValidationRecord(_Record):
    """Answers of the trained model on the validation images.

    Classes have numbers from 0, in the order of the data set's.
    """

    images_by_class: list[int]
    hits_by_class: list[int]
    """Images of each class that were classified correctly."""
    confusion: list[list[int]] | None = None
    """Images by true class (rows) and predicted class; None with more than 100 classes."""
    labels: str = ""
    """True class of each image, in the order of the validation set: one byte each, in base64.
    Empty, as are predictions, with more than 10,000 images or 256 classes."""
    predictions: str = ""
    """Predicted class of each image, likewise."""

    @classmethod
    def from_classes(cls, labels: Classes, predictions: Classes, classes: int) -> ValidationRecord:
        """Return the record of true and predicted classes."""
        by_class = [np.bincount(some, minlength=classes).tolist()
                    for some in (labels, labels[labels == predictions])]  # fmt: skip
        confused = classes <= MOST_CONFUSED
        each = len(labels) <= MOST_PREDICTIONS and classes <= MOST_CLASSES
        return cls(
            images_by_class=by_class[0],
            hits_by_class=by_class[1],
            confusion=count_pairs(labels, predictions, classes).tolist() if confused else None,
            labels=encode_classes(labels) if each else "",
            predictions=encode_classes(predictions) if each else "",
        )

    @model_validator(mode="after")
    def _agrees(self) -> ValidationRecord:
        classes, images = len(self.images_by_class), sum(self.images_by_class)
        found = [decode_classes(self.labels), decode_classes(self.predictions)]
        if self.confusion is not None and {*map(len, self.confusion)} | {
            len(self.confusion), len(self.hits_by_class)
        } != {classes}:  # fmt: skip
            raise ValueError("not a row and a column of the confusion matrix for each class")
        if any(len(some) not in (0, images) or max(some, default=0) >= classes for some in found):
            raise ValueError("not a class of the data set for each validation image")
        return self


class TraceRecord(_Record):
    """Power trace: times (s) and powers (W) by component."""

    time_s: dict[Component, list[float]]
    power_w: dict[Component, list[float]]


class ForecastRecord(_Record):
    """Forecast of a run's energy that made it stop, with the 95% interval."""

    energy_j: float | None
    """None if only the energy already used is known."""
    low_j: float
    """At least the energy already used."""
    high_j: float | None
    after_epoch: int
    limit_j: float
    """Limit that the energy was to stay below."""


class RunRecord(_Record):
    """Everything that one run produced."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    status: Literal["finished", "stopped", "failed"]
    reason: str = ""
    """Why the run failed or was stopped."""
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
    session: str = ""
    """Invocation of the driver that made the run; empty in records of versions 1 to 5."""
    machine: dict[str, Any]
    host: str = ""
    """Hash of the computer's name, which distinguishes computers of the same hardware."""
    accelerator: str = ""
    """Identifier of the GPU used for training; empty for the CPU."""
    versions: dict[str, str]
    git_commit: str
    device_name: str = ""
    gflops_per_image: float | None = None
    parameters: int | None = None
    data_sha256: str = ""
    weights_sha256: str = ""
    """SHA-256 of the initial weights; empty if they were random."""
    setup_s: float | None = None
    """Time from the start of the run to the start of the metered window."""
    epochs: list[EpochRecord] = Field(default_factory=list)
    ended_by: Literal["epochs", "early stopping", "target", "budget", "forecast"] = "epochs"
    forecast: ForecastRecord | None = None
    validation: ValidationRecord | None = None
    """Answers of the trained model; None in records of versions 1 to 6."""
    final_epoch: int | None = None
    """Epoch whose weights the trained model has; None for the last one."""
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
    """Share of the samples (0 to 1) by the reason that lowered the GPU's clocks."""
    comparisons: list[ComparisonRecord] = Field(default_factory=list)
    wall: WallRecord | None = None
    """Energy at the wall; None without a meter there, and in records of versions 1 to 7."""
    complete: bool = True
    disturbed: bool = False
    """Whether other work, or clocks held back, disturbed the run; ``contended`` before version 9.
    """
    tries: int = 1
    """Number of times that the run was made, this one included."""
    wait_policy: str = ""
    """How CPU threads wait for each other (OpenMP); empty in records of versions 1 to 8."""
    problems: list[str] = Field(default_factory=list)
    trace: TraceRecord | None = None
    excluded_components: dict[Component, EnergyRecord] = Field(default_factory=dict, exclude=True)
    """Energy of the components that the study does not count; never written to a file."""

    @property
    def final(self) -> EpochRecord | None:
        """Epoch whose weights the trained model has; None if no epoch was completed."""
        if not self.epochs:
            return None
        return self.epochs[(self.final_epoch or len(self.epochs)) - 1]

    @property
    def correctness_is_meaningful(self) -> bool:
        """Whether the images can be classified, which synthetic ones cannot."""
        return self.dataset.get("name") != "synthetic"

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_versions(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        content = dict(content)
        if "stopped_early" in content:
            early = content.pop("stopped_early")
            content["ended_by"] = "early stopping" if early else "epochs"
        if "contended" in content and "disturbed" not in content:
            content["disturbed"] = content.pop("contended")
        return content


def phase_name(epoch: int, phase: str = "") -> str:
    """Return the name of an epoch's phase: ``epoch 3 training``; without a phase, its prefix."""
    return f"epoch {epoch} {phase}"


def sum_energies(energies_j: Iterable[float | None]) -> float | None:
    """Return the sum of energies in J; None if there is none, or one is unknown."""
    parts = list(energies_j)
    known = [energy_j for energy_j in parts if energy_j is not None]
    return sum(known) if known and len(known) == len(parts) else None
