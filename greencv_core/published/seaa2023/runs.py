"""The measurements of del Rey et al. (SEAA 2023) as our runs table.

369 trainings of five architectures in three environments, published under CC BY 4.0
(doi 10.5281/zenodo.7828518). Energy is the GPU board's, from power that ``nvidia-smi`` logged once
a second, integrated by the trapezoidal rule; the raw logs of two environments are published too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd
from pyarrow.parquet import ParquetFile

from greencv_core.published import load_manifest
from greencv_core.records.tables import runs_table
from greencv_core.utils.downloads import Release
from greencv_core.utils.text import listed, percent

NAME = "seaa2023"
DOI = "10.5281/zenodo.7828518"
COMMIT = "6fa5af6ffedd988110d02eb6954c0401d0b7a75c"
PROCESSED = "processed/dl-training-energy-consumption-dataset.gzip"
METRICS = "processed/model_metrics.gzip"
NEEDED = (PROCESSED, METRICS)
ENVIRONMENTS = {
    "Local Normal User": "Local N",
    "Local ML Engineer/Gamer": "Local ML",
    "Cloud": "Cloud",
}
"""Names in the processed file, and in the paper's figures."""
FOLDERS = {"cloud": "Cloud", "local-v2": "Local ML", "local": "Local N"}
CONDITION = ["environment", "architecture"]
KEY = (*CONDITION, "repetition")
"""Columns that identify a run."""
SEED = 2022
VALIDATION_IMAGES = 10_176
IMAGES_PER_EPOCH = 33_952
"""Training and validation images in whole batches of 32: 23,776 and 10,176."""
MOST_EPOCHS = 150
CARBON_INTENSITY_GCO2E_PER_KWH = 232.0


def _url_path(path: str) -> str:
    return f"data/metrics/{path.replace(METRICS, 'interim/model_metrics.gzip')}"


RELEASE = Release(
    name=NAME,
    base_url=f"https://raw.githubusercontent.com/GAISSA-UPC/seaa2023_ect/{COMMIT}",
    hashes=load_manifest(NAME),
    url_path=_url_path,
)

REMOVED_BY_HAND: Mapping[tuple[str, str], tuple[int, ...]] = MappingProxyType(
    {
        ("Cloud", "nasnet_mobile"): (0, 1, 2, 3),
        ("Cloud", "resnet50"): (25, 26, 27, 28, 29),
        ("Cloud", "vgg16"): (26,),
        ("Local ML", "mobilenet_v2"): (30, 31, 32, 33, 34, 35, 36),
        ("Local ML", "resnet50"): (15,),
    }
)
"""Repetitions that the original's notebook leaves out, by environment and architecture."""


def published_runs(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return the runs table of the processed file, a row per training.

    It has the columns of :func:`greencv_core.records.tables.runs_table` and ``f1``, ``precision``,
    ``recall`` and ``auc`` (of the positive class, as published), ``temperature_c``,
    ``power_sum_w`` (sum of all samples of a run), ``epochs_first_version`` and
    ``epochs_true`` (see :func:`read_metrics`) and ``removed_by_hand``.
    """
    table = pd.read_parquet(files[PROCESSED])
    runs = pd.DataFrame(
        {
            "environment": table["training environment"].map(ENVIRONMENTS),
            "architecture": table["architecture"],
            "repetition": table["run"],
            "device_name": table["gpu model"],
            "batch_size": table["batch size"],
            "gflops_per_image": table["GFLOPs"],
            "epochs": table["trained epochs"],
            "images_processed": table["total seen images"],
            "duration_s": 3600 * table["training duration (h)"],
            "energy_j": 1e6 * table["energy (MJ)"],
            "power_w": table["average power draw (W)"],
            "emissions_gco2e": table["emissions (gCO2e)"],
            "device_utilization_pct": table["gpu usage (%)"],
            "accuracy": table["accuracy"],
            "f1": table["f1-score"],
            "precision": table["precision"],
            "recall": table["recall"],
            "auc": table["AUC"],
            "temperature_c": table["average temperature (Celsius)"],
            "power_sum_w": table["total power (W)"],
        }
    )
    counted = read_metrics(files[METRICS], [])
    keys = pd.MultiIndex.from_frame(runs[list(KEY)])
    for column in counted.columns:
        runs[column] = counted.loc[keys, column].to_numpy()
    return complete_columns(runs)


def complete_columns(runs: pd.DataFrame) -> pd.DataFrame:
    """Add the missing columns of a runs table to measured runs."""
    images, energy_j, duration_s = runs["images_processed"], runs["energy_j"], runs["duration_s"]
    by_hand = {(*condition, run) for condition, some in REMOVED_BY_HAND.items() for run in some}
    keys = list(runs[list(KEY)].itertuples(index=False, name=None))
    runs = runs.assign(
        run_id=["/".join(map(str, (NAME, *key))) for key in keys],
        study=NAME,
        seed=SEED,
        status="finished",
        device="cuda",
        classes=2,
        validation_images=VALIDATION_IMAGES,
        energy_j_per_image=energy_j / images,
        duration_s_per_image=duration_s / images,
        images_per_s=images / duration_s,
        gpu_energy_j=energy_j,
        provenance="published",
        gpu_provenance="published",
        carbon_intensity_gco2e_per_kwh=CARBON_INTENSITY_GCO2E_PER_KWH,
        complete=True,
        disturbed=False,
        removed_by_hand=[key in by_hand for key in keys],
    )
    known = list(runs_table([]).columns)
    return runs.reindex(columns=[*known, *(c for c in runs.columns if c not in known)])


def read_metrics(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return some metrics of each run, and its counts of epochs, by :data:`KEY`.

    ``epochs_first_version`` is the count of the package's first version, in its interim file;
    ``epochs_true`` is one more, and 150 at most: Keras numbers epochs from 0, through both stages,
    so that the count is the epoch whose weights were restored, plus one, plus the patience of 20.
    The package's last version added the first stage's 10 epochs once more instead.
    """
    # pandas would import Arrow's reader of many files, which takes longer than this one's reading.
    with ParquetFile(path) as file:
        table = file.read(columns=[*columns, "trained epochs"], use_pandas_metadata=True)
    metrics = table.to_pandas()
    metrics.index = pd.MultiIndex.from_tuples(
        [(FOLDERS[folder], architecture, run) for folder, architecture, run in metrics.index],
        names=KEY,
    )
    first = metrics.pop("trained epochs").astype(int)
    return metrics.assign(
        epochs_first_version=first, epochs_true=(first + 1).clip(upper=MOST_EPOCHS)
    )


def describe_conditions(runs: pd.DataFrame) -> str:
    """Return the conditions of runs in words: ``vgg16 in Cloud and resnet50 in Cloud``."""
    pairs = runs[CONDITION].drop_duplicates().itertuples(index=False, name=None)
    return listed([f"{architecture} in {environment}" for environment, architecture in pairs])


def signed_percent(share: float) -> str:
    """Return a share in percent, with a minus sign rather than a hyphen."""
    return percent(share).replace("-", "\N{MINUS SIGN}")
