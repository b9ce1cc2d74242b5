"""The run record: everything that one run produced, as one self-contained JSON file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from greencv_core.utils.energy import (
    Component,
    Provenance,
    combined_uncertainty_j,
)

SCHEMA_VERSION = 5


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
    excluded_components: dict[Component, EnergyRecord] = Field(default_factory=dict, exclude=True)
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
