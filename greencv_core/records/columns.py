"""What each column of the runs table is, with its unit: for those who read it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Kind = Literal["string", "integer", "number", "boolean"]
"""As the Data Package standard calls them."""


class Column(NamedTuple):
    """A column's kind of value and its meaning, in a sentence."""

    kind: Kind
    description: str


_WHOLE_TRAINING = "of the whole training, of its components together"

RUNS_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "run_id": Column("string", "Hash of all that defines the run."),
        "study": Column("string", "Name of the study."),
        "architecture": Column("string", "Name of the image classifier."),
        "environment": Column("string", "Name of the training environment."),
        "repetition": Column("integer", "Number of the repetition, from 0."),
        "order": Column("integer", "Place in the randomised order of the study's plan, from 0."),
        "seed": Column("integer", "Seed of the random numbers."),
        "status": Column("string", "finished, stopped (by a forecast) or failed."),
        "device": Column("string", "Kind of device: cpu or an accelerator's."),
        "device_name": Column("string", "Product name of the device."),
        "threads": Column("integer", "CPU threads that computed."),
        "precision": Column("string", "Floating-point precision of the training."),
        "memory_format": Column("string", "Order of the images' dimensions in memory."),
        "compile": Column("boolean", "Whether the model was compiled before the metered window."),
        "workers": Column("integer", "Processes that load images; 0 is the training's own."),
        "power_limit_w": Column("number", "Power limit of the GPU, as found (W)."),
        "dataset": Column("string", "Name of the data set."),
        "image_size": Column("integer", "Height and width of the images (pixels)."),
        "batch_size": Column("integer", "Images in a batch."),
        "gflops_per_image": Column(
            "number", "Complexity: floating-point operations of one forward pass (10^9 per image)."
        ),
        "parameters": Column("integer", "Parameters of the model."),
        "epochs": Column("integer", "Epochs that were trained."),
        "ended_by": Column(
            "string", "What ended the training: epochs, early stopping, target, budget, forecast."
        ),
        "images_processed": Column(
            "integer", "Images of training and validation together, over all epochs."
        ),
        "duration_s": Column("number", "Duration of the metered window (s)."),
        "energy_j": Column("number", f"Energy {_WHOLE_TRAINING} (J); see provenance."),
        "components": Column(
            "string", "Whose energy energy_j is: gpu, cpu, ram; joined by +, of what was metered."
        ),
        "energy_uncertainty_j": Column("number", "Standard uncertainty of energy_j (J)."),
        "energy_j_per_image": Column("number", "energy_j over images_processed (J per image)."),
        "net_energy_j": Column("number", "energy_j less what idling would have taken (J)."),
        "power_w": Column("number", "Mean power: energy_j over duration_s (W)."),
        "duration_s_per_image": Column("number", "duration_s over images_processed (s per image)."),
        "images_per_s": Column("number", "images_processed over duration_s (images per s)."),
        "gpu_energy_j": Column("number", "Energy of the GPU (J); see gpu_provenance."),
        "cpu_energy_j": Column("number", "Energy of the CPU (J); see cpu_provenance."),
        "ram_energy_j": Column("number", "Energy of the memory (J); see ram_provenance."),
        "provenance": Column(
            "string",
            "How energy_j is known: measured (a counter), sampled (power, integrated), estimated "
            "(a model) or published; the weakest of its components.",
        ),
        "gpu_provenance": Column("string", "How gpu_energy_j is known."),
        "cpu_provenance": Column("string", "How cpu_energy_j is known."),
        "ram_provenance": Column("string", "How ram_energy_j is known."),
        "train_energy_j": Column("number", "Energy of the training phases alone (J)."),
        "validation_energy_j": Column("number", "Energy of the validation phases alone (J)."),
        "emissions_gco2e": Column("number", "Emissions of energy_j (gCO2e)."),
        "carbon_intensity_gco2e_per_kwh": Column(
            "number", "Carbon intensity of the electricity (gCO2e per kWh)."
        ),
        "device_utilization_pct": Column(
            "number", "Mean utilisation of the GPU, or share of all CPU cores (%)."
        ),
        "accuracy": Column("number", "Accuracy on the validation images (0 to 1)."),
        "precision_macro": Column("number", "Macro precision on the validation images (0 to 1)."),
        "recall_macro": Column("number", "Macro recall on the validation images (0 to 1)."),
        "f1_macro": Column("number", "Macro F1 on the validation images (0 to 1)."),
        "auroc_macro": Column("number", "Macro AUROC on the validation images (0 to 1)."),
        "train_loss": Column("number", "Cross-entropy on the training images (nats)."),
        "validation_loss": Column("number", "Cross-entropy on the validation images (nats)."),
        "complete": Column("boolean", "Whether every meter read to the end."),
        "contended": Column(
            "boolean", "Whether other work, or clocks held back, disturbed the run."
        ),
        "problems": Column("string", "What happened, of runs that are marked."),
        "machine": Column("string", "Fingerprint of the machine's hardware."),
        "host": Column("string", "Hash of the computer's name."),
        "cpu_model": Column("string", "Product name of the CPU."),
        "started_at": Column("string", "When the run began (ISO 8601)."),
        "git_commit": Column("string", "Commit of the code that made the run."),
        "greencv_version": Column("string", "Version of greencv that made the run."),
        "torch_version": Column("string", "Version of PyTorch that made the run."),
        "record": Column("string", "File of the run's record in the store."),
    }
)
