"""The columns of the runs table: type, unit, heading and description of each, defined once.

A new column needs an entry here and its value in :func:`greencv_core.records.tables.table_row`.
The exported files, their description, bundles, the cache and headings of tables follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from greencv_core.utils.text import as_opening, quantity

Kind = Literal["string", "integer", "number", "boolean"]
"""Types of the Data Package standard."""
_TYPES: Mapping[Kind, tuple[type, str]] = {
    "string": (str, "string"),
    "integer": (int, "int64"),
    "number": (float, "float64"),
    "boolean": (bool, "bool"),
}
"""The type of each kind in Python and in Arrow."""


@dataclass(frozen=True)
class Column:
    """A column of the runs table."""

    name: str
    kind: Kind
    description: str
    """A sentence, with the unit."""
    title: str = ""
    """First part of the heading; derived from the plain name if empty."""
    unit: str = ""
    """Second part of the heading, in brackets."""
    provenance: str = ""
    """Name of the column with the provenance of this energy."""
    component_title: str = ""
    """Title if the study counts the energy of one component, which replaces ``{}``."""
    decimals: int | None = None
    """Decimals in a table, 0 for counts; None for three significant digits."""

    @property
    def type(self) -> type:
        """Type of the values in Python; missing ones are None, or NaN in a column of numbers."""
        return _TYPES[self.kind][0]

    @property
    def arrow(self) -> str:
        """Name of the type in Arrow."""
        return _TYPES[self.kind][1]

    def heading(self, component: str = "") -> str:
        """Return the title and the unit, of a study that counts one component such as ``GPU``."""
        title = self.title or as_opening(quantity(self.name))
        if component and self.component_title:
            title = self.component_title.format(component)
        return f"{title} ({self.unit})" if self.unit else title


_COLUMNS = (
    Column("run_id", "string", "Hash of all that defines the run.", "Run"),
    Column("study", "string", "Name of the study."),
    Column("architecture", "string", "Name of the image classifier."),
    Column("environment", "string", "Name of the training environment."),
    Column("repetition", "integer", "Number of the repetition, from 0."),
    Column("order", "integer", "Place in the randomised order of the study's plan, from 0."),
    Column("seed", "integer", "Seed of the random numbers."),
    Column("status", "string", "finished, stopped (by a forecast) or failed."),
    Column("device", "string", "Kind of device: cpu or an accelerator's."),
    Column("device_name", "string", "Product name of the device."),
    Column("threads", "integer", "CPU threads that computed.", "CPU threads"),
    Column("wait_policy", "string",
        "How CPU threads wait for each other (OMP_WAIT_POLICY), or default; missing in records "
        "before version 9.", "Waiting threads"),
    Column("precision", "string", "Floating-point precision of the training."),
    Column("memory_format", "string", "Order of the images' dimensions in memory."),
    Column("compile", "boolean", "Whether the model was compiled before the metered window.",
        "Compiled"),
    Column("workers", "integer", "Processes that load images; 0 is the training's own.",
        "Loading processes"),
    Column("power_limit_w", "number", "Power limit of the GPU, as found (W).", "Power limit", "W"),
    Column("dataset", "string", "Name of the data set."),
    Column("classes", "integer", "Classes of the data set; missing if a record has none."),
    Column("image_size", "integer", "Height and width of the images (pixels)."),
    Column("batch_size", "integer", "Images in a batch."),
    Column("gflops_per_image", "number",
        "Complexity: floating-point operations of one forward pass (10^9 per image).",
        "GFLOPs per image"),
    Column("parameters", "integer", "Parameters of the model.", decimals=0),
    Column("epochs", "integer", "Epochs that were trained.", decimals=0),
    Column("ended_by", "string",
        "What ended the training: epochs, early stopping, target, budget, forecast."),
    Column("images_processed", "integer",
        "Images of training and validation together, over all epochs.", decimals=0),
    Column("duration_s", "number", "Duration of the metered window (s).", unit="s"),
    Column("energy_j", "number",
        "Energy of the whole training, of its components together (J); see provenance.", unit="J",
        provenance="provenance", component_title="{} energy"),
    Column("components", "string",
        "Whose energy energy_j is: gpu, cpu, ram; joined by +, of what was metered."),
    Column("energy_uncertainty_j", "number", "Standard uncertainty of energy_j (J)."),
    Column("energy_j_per_image", "number", "energy_j over images_processed (J per image).",
        unit="J", provenance="provenance", component_title="{} energy per image"),
    Column("net_energy_j", "number", "energy_j minus the energy at idle power (J).", unit="J",
        provenance="provenance", component_title="Net {} energy"),
    Column("power_w", "number", "Mean power: energy_j over duration_s (W).", unit="W",
        provenance="provenance", component_title="Mean {} power"),
    Column("duration_s_per_image", "number", "duration_s over images_processed (s per image).",
        unit="s"),
    Column("images_per_s", "number", "images_processed over duration_s (images per s).",
        "Images per second"),
    Column("gpu_energy_j", "number", "Energy of the GPU (J); see gpu_provenance.", "GPU energy",
        "J", provenance="gpu_provenance"),
    Column("cpu_energy_j", "number", "Energy of the CPU (J); see cpu_provenance.", "CPU energy",
        "J", provenance="cpu_provenance"),
    Column("ram_energy_j", "number", "Energy of the memory (J); see ram_provenance.", "RAM energy",
        "J", provenance="ram_provenance"),
    Column("provenance", "string",
        "How energy_j is known: measured (a counter), sampled (power, integrated), estimated "
        "(a model) or published; the weakest of its components."),
    Column("gpu_provenance", "string", "How gpu_energy_j is known.", "GPU provenance"),
    Column("cpu_provenance", "string", "How cpu_energy_j is known.", "CPU provenance"),
    Column("ram_provenance", "string", "How ram_energy_j is known.", "RAM provenance"),
    Column("train_energy_j", "number", "Energy of the training phases alone (J)."),
    Column("validation_energy_j", "number", "Energy of the validation phases alone (J)."),
    Column("emissions_gco2e", "number", "Emissions of energy_j (gCO2e).", unit="gCO2e",
        provenance="provenance", component_title="Emissions by {} energy"),
    Column("carbon_intensity_gco2e_per_kwh", "number",
        "Carbon intensity of the electricity (gCO2e per kWh)."),
    Column("device_utilization_pct", "number",
        "Mean utilisation of the GPU, or share of all CPU cores (%).", unit="%"),
    Column("accuracy", "number", "Accuracy on the validation images (0 to 1).", decimals=3),
    Column("precision_macro", "number", "Macro precision on the validation images (0 to 1).",
        "Macro precision", decimals=3),
    Column("recall_macro", "number", "Macro recall on the validation images (0 to 1).",
        "Macro recall", decimals=3),
    Column("f1_macro", "number", "Macro F1 on the validation images (0 to 1).", decimals=3),
    Column("auroc_macro", "number", "Macro AUROC on the validation images (0 to 1).",
        "Macro AUROC", decimals=3),
    Column("accuracy_image_error", "number",
        "Standard error of accuracy from the number of validation images; missing in records "
        "before version 7, as are the next three columns."),
    Column("f1_macro_image_error", "number",
        "Standard error of f1_macro from the number of validation images."),
    Column("train_loss", "number", "Cross-entropy on the training images (nats)."),
    Column("validation_loss", "number", "Cross-entropy on the validation images (nats)."),
    Column("validation_images", "integer", "Number of validation images.", decimals=0),
    Column("validation_labels", "string",
        "True class of each validation image, in order: one byte each, in base64."),
    Column("validation_predictions", "string",
        "Class that the trained model predicts of each validation image, likewise."),
    Column("complete", "boolean", "Whether every meter read to the end."),
    Column("disturbed", "boolean", "Whether other work, or clocks held back, disturbed the run."),
    Column("tries", "integer",
        "Times that the run was made: again after disturbed ones; the last one counts."),
    Column("problems", "string", "What happened, of runs that are marked.", "What happened"),
    Column("machine", "string", "Fingerprint of the machine's hardware."),
    Column("host", "string", "Hash of the computer's name."),
    Column("cpu_model", "string", "Product name of the CPU.", "CPU model"),
    Column("started_at", "string", "When the run began (ISO 8601)."),
    Column("session", "string",
        "Session of the run: one invocation of the driver; missing in records before version 6."),
    Column("git_commit", "string", "Commit of the code that made the run."),
    Column("greencv_version", "string", "Version of greencv that made the run."),
    Column("torch_version", "string", "Version of PyTorch that made the run."),
    Column("record", "string", "File of the run's record in the store."),
)  # fmt: skip
RUNS_COLUMNS: Mapping[str, Column] = {column.name: column for column in _COLUMNS}
"""The columns of the runs table by name, in order."""
NUMBERS = tuple(column.name for column in _COLUMNS if column.kind == "number")
"""Columns of real numbers, NaN where a run has none."""
