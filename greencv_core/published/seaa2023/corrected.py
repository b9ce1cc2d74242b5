"""The runs of del Rey et al. as a source of evidence: every correction made, energy gross."""

from __future__ import annotations

import pandas as pd

from greencv_core.published.seaa2023.reanalysis import CORRECTED, CORRECTNESS, Reanalysis
from greencv_core.published.seaa2023.runs import IMAGES_PER_EPOCH, KEY, NAME
from greencv_core.published.tables import complete_table

REMOVED = "removed by hand"
"""Reason of the runs that the original leaves out."""
_KEPT = [
    "architecture", "environment", "repetition", "seed", "device", "device_name", "batch_size",
    "gflops_per_image", "carbon_intensity_gco2e_per_kwh", "device_utilization_pct", "accuracy",
    "started_at", "session", "validation_images",
]  # fmt: skip


def corrected_runs(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return the runs with corrected energies and epochs, as a published data set's runs table."""
    every = reanalysis.every_run
    images = IMAGES_PER_EPOCH * every["epochs_true"]
    energy_j = images * every[CORRECTED]
    idle = reanalysis.idle_power.reindex(every["environment"])
    runs = every[_KEPT].assign(
        run=["/".join(map(str, key)) for key in every[list(KEY)].itertuples(index=False)],
        dataset="private images of two classes",
        image_size=128,
        framework="TensorFlow",
        hardware="1x " + every["device_name"],
        epochs=every["epochs_true"],
        images_processed=images,
        duration_s=every["duration_s"] + every["missing_s"],
        energy_j=energy_j,
        gpu_energy_j=energy_j,
        gpu_provenance="published",
        components="gpu",
        idle_power_w=idle["before_power_w"].array,
        low_power_w=idle["low_power_w"].array,
        correctness=every[CORRECTNESS],
        correctness_name="F1 of the positive class",
        left_out=every["removed_by_hand"].map({True: REMOVED, False: ""}),
    )
    return complete_table(runs, NAME)


def analysed_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return such a table's runs with the columns that ``Reanalysis.runs(CORRECTED)`` has."""
    runs = table.assign(
        energy_j_per_image=table["energy_j"] / table["images_processed"],
        removed_by_hand=table["left_out"] == REMOVED,
        **{CORRECTNESS: table["correctness"]},
    )
    return runs.dropna(subset=["energy_j_per_image"]).reset_index(drop=True)
