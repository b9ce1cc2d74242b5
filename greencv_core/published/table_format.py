"""The evidence table: the columns of a table with others' measurements, defined once.

One row is one training run. Adapters of published data sets and tables that users bring have the
same columns. :mod:`greencv_core.published.table_reading` reads and checks a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from greencv_core.records.columns import Kind
from greencv_core.utils.energy import Provenance


@dataclass(frozen=True)
class Field:
    """A column of the evidence table."""

    name: str
    kind: Kind
    description: str
    """A sentence that a reader of the table needs, with the unit."""
    unit: str = ""
    """Unit of the values; empty for texts, counts and shares."""
    required: bool = False
    minimum: float | None = None
    """Smallest allowed value."""
    maximum: float | None = None
    """Largest allowed value."""
    positive: bool = False
    """Whether values must be above zero."""
    allowed: tuple[str, ...] = ()
    """Allowed texts; empty where any text is allowed."""


_COLUMNS = (
    Field("source", "string",
        "Key of the publication or laboratory that measured; one provenance for each source.",
        required=True),
    Field("architecture", "string", "Name of the image classifier.", required=True),
    Field("environment", "string",
        "Hardware and how it was used: whatever differs between conditions, in words.",
        required=True),
    Field("energy_j", "number", "Energy of the whole training run (J).", "J", required=True,
        positive=True),
    Field("provenance", "string",
        "How energy_j is known: measured (an energy counter), sampled (power, integrated over "
        "time), estimated (a model, or unknown) or published (from a publication's files).",
        required=True, allowed=get_args(Provenance)),
    Field("dataset", "string", "Name of the data set that was trained on."),
    Field("framework", "string", "Name of the deep learning framework, such as PyTorch."),
    Field("hardware", "string",
        "What the energy is of, such as 8x A100-SXM4-40GB; the number before the x counts the "
        "devices."),
    Field("batch_size", "integer", "Images in a batch, over all devices.", minimum=1),
    Field("power_limit_w", "number", "Power limit of one device (W).", "W", positive=True,
        maximum=2000),
    Field("repetition", "integer", "Number of the repetition of a condition, from 0.", minimum=0),
    Field("session", "string",
        "Name of the sitting in which runs followed each other without a long pause."),
    Field("started_at", "string", "When the run began (ISO 8601)."),
    Field("images_processed", "integer",
        "Images of training and validation together, over all epochs.", minimum=1),
    Field("energy_j_per_image", "number",
        "energy_j over images_processed (J per image); computed where it is absent.", "J/image",
        positive=True, maximum=1000),
    Field("duration_s", "number", "Duration of the run (s).", "s", positive=True),
    Field("epochs", "number", "Epochs that were trained.", positive=True),
    Field("idle_power_w", "number", "Power of the idle hardware (W).", "W", minimum=0),
    Field("low_power_w", "number",
        "Power of the idle hardware in a lower state, where both are known (W).", "W", minimum=0),
    Field("gflops_per_image", "number",
        "Floating-point operations of one forward pass of one image (10^9; twice the "
        "multiply-adds).", "GFLOPs", positive=True),
    Field("parameters", "integer", "Parameters of the model.", minimum=1),
    Field("correctness", "number", "Correctness of the trained model (0 to 1).", minimum=0,
        maximum=1),
    Field("correctness_name", "string", "What correctness is, such as accuracy or macro F1."),
    Field("device_utilization_pct", "number", "Mean utilisation of the devices (%).", "%",
        minimum=0, maximum=100),
    Field("run_id", "string", "Name of the run, unique in the table; numbered where absent."),
    Field("left_out", "string", "Why the run does not count; empty where it counts."),
    Field("correctness_left_out", "string",
        "Why the run's correctness does not count; empty where it counts."),
)  # fmt: skip
EVIDENCE_COLUMNS: Mapping[str, Field] = {field.name: field for field in _COLUMNS}
"""The columns of the evidence table by name, in order."""
MISSING = ("", "NA", "NaN", "nan")
"""What a cell without a value holds."""
REQUIRED = tuple(field.name for field in _COLUMNS if field.required)
"""Columns that a table must have, with a value in each row."""


def table_schema() -> dict[str, Any]:
    """Return the evidence table's description as a Table Schema (https://datapackage.org)."""
    return {
        "$schema": "https://datapackage.org/profiles/2.0/tableschema.json",
        "title": "Evidence table: measured energy of training image classifiers, one row a run",
        "fields": [_described(field) for field in _COLUMNS],
        "missingValues": list(MISSING),
    }


def _described(field: Field) -> dict[str, Any]:
    limits = {
        "required": field.required or None,
        "exclusiveMinimum": 0 if field.positive else None,
        "minimum": field.minimum,
        "maximum": field.maximum,
        "enum": list(field.allowed) or None,
        "unique": field.name == "run_id" or None,
    }
    constraints = {name: limit for name, limit in limits.items() if limit is not None}
    return {
        "name": field.name,
        "type": field.kind,
        "description": field.description,
        **({"unit": field.unit} if field.unit else {}),
        **({"constraints": constraints} if constraints else {}),
    }
