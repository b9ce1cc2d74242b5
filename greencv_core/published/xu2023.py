"""The measurements of Xu et al. (2023), with a wall meter and CodeCarbon of the same runs.

Three architectures on two data sets, three times each, on a node with eight GPUs. It is the only
published source with a meter at the wall, so it shows what a software estimate misses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import pandas as pd

from greencv_core.published import load_manifest
from greencv_core.published.card import Card, Defect
from greencv_core.published.tables import complete_table, read_content
from greencv_core.utils.downloads import Release
from greencv_core.utils.energy import J_PER_KWH
from greencv_core.utils.errors import BadInputError

NAME = "xu2023"
COMMIT = "490f61aeac4cf05e29e0409eb6f8e6efadde6341"
FOLDER = "data/raw/grilla/results_summary"
EPOCHS = 50
IMAGES_PER_EPOCH = {"CIFAR10": 60_000, "MNIST": 70_000}
"""Images of training and test."""
DATASETS = {"CIFAR10": "CIFAR-10", "MNIST": "MNIST"}
NODE = "8x Tesla V100-SXM2-32GB"

RELEASE = Release(
    name=NAME,
    base_url=f"https://raw.githubusercontent.com/yinlenaxu/energy-efficiency-cv/{COMMIT}",
    hashes=load_manifest(NAME),
    url_path=lambda path: path,
    other_layouts=(lambda path: path.replace("data/raw/", "xu2023/"),),
)
NEEDED = tuple(RELEASE.hashes)

CARD = Card(
    key=NAME,
    title="Energy efficiency of training neural network architectures: an empirical study",
    authors="Yinlena Xu, Silverio Martínez-Fernández, Matias Martinez and Xavier Franch",
    year=2023,
    url="https://doi.org/10.24251/HICSS.2023.098",
    repository="https://github.com/yinlenaxu/energy-efficiency-cv",
    commit=COMMIT,
    licence="MIT",
    citation="xu2023",
    laboratory="GAISSA, Universitat Politècnica de Catalunya",
    trained=(
        "New fully connected layers on frozen VGG16, VGG19 and ResNet-50 in Keras, for 50 epochs "
        "on CIFAR-10 and MNIST (32 x 32 and 48 x 48 pixels, batch size 32), three times each: 18 "
        "runs."
    ),
    measured=(
        "Energy of the whole node at the wall, idle power included. CodeCarbon estimated the "
        "same runs."
    ),
    columns=MappingProxyType(
        {
            "energy_j": "joules of the wall meter (summary_*.json)",
            "duration_s": "timeExecution of the wall meter",
            "images_processed": "50 x (training and test images)",
            "correctness": "last value of acf (accuracy.txt), on the test images",
            "codecarbon_energy_j": "energy_consumed (emissions.csv)",
            "wall_to_estimate": "joules over energy_consumed",
            "started_at": "timestamp less duration (emissions.csv)",
        }
    ),
    defects=(
        Defect(
            key="negative CPU energy",
            found="CodeCarbon's CPU energy is negative in two runs; a counter has overflowed.",
            rule="Where a part of CodeCarbon's energy is negative, its energy and the ratio are "
            "missing; the wall meter's energy counts.",
            effect="corrected",
        ),
    ),
    limits=(
        "It shares two authors with the original study.",
        "The eight GPUs together take 343 to 357 W, so most of them are idle.",
        "CodeCarbon assumes 188 W for the memory. Its CPU energy amounts to 2 to 44 W, although it "
        "states a CPU power of 148 to 237 W in the same file.",
    ),
)


def published_runs(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return the runs table, one row a training, with energy at the wall.

    It has the columns of the runs table and the evidence table, and CodeCarbon's estimate:
    ``codecarbon_energy_j``, its parts (``codecarbon_gpu_j``, ``codecarbon_cpu_j``,
    ``codecarbon_ram_j``), the ratio ``wall_to_estimate``, and ``codecarbon_cpu_power_w``, the CPU
    power that CodeCarbon states next to its CPU energy.

    Raises
    ------
    BadInputError
        Files cannot be read; one line each, and no file is used.
    """
    folders: dict[str, dict[str, Path]] = {}
    for path, file in files.items():
        place = PurePosixPath(path)
        if place.name.startswith(("summary_", "emissions", "accuracy")):
            folders.setdefault(place.parent.name, {})[place.name.partition("_")[0]] = file
    problems: list[str] = []
    rows = [
        read_content(NAME, f"{FOLDER}/{name}", partial(_row, name, found), problems)
        for name, found in sorted(folders.items())
    ]
    if problems:
        raise BadInputError("\n".join(problems))
    runs = pd.DataFrame(rows)
    parts = runs[[f"codecarbon_{part}_j" for part in ("gpu", "cpu", "ram")]]
    usable = (parts > 0).all(axis="columns")
    runs["codecarbon_energy_j"] = runs["codecarbon_energy_j"].where(usable)
    runs["wall_to_estimate"] = runs["energy_j"] / runs["codecarbon_energy_j"]
    return complete_table(runs, NAME)


def _row(folder: str, found: Mapping[str, Path]) -> dict[str, Any]:
    dataset, architecture, repetition = folder.split("_")[-3:]
    wall = json.loads(found["summary"].read_bytes())
    estimate = pd.read_csv(found["emissions.csv"]).iloc[-1]
    by_epoch = found["accuracy.txt"].read_text().partition("acf:")[2].partition("\n")[0]
    accuracy = json.loads(by_epoch)[-1]
    ended, duration = pd.Timestamp(estimate["timestamp"]), pd.Timedelta(seconds=estimate.duration)
    return {
        "run": f"{dataset}/{architecture}/{repetition}",
        "architecture": architecture,
        "environment": f"node with {NODE}",
        "dataset": DATASETS[dataset],
        "framework": "TensorFlow",
        "hardware": f"node with {NODE}, at the wall",
        "device": "cuda",
        "device_name": estimate["gpu_model"],
        "cpu_model": estimate["cpu_model"],
        "batch_size": 32,
        "repetition": int(repetition) - 1,
        "started_at": (ended - duration).isoformat(timespec="seconds"),
        "epochs": EPOCHS,
        "images_processed": EPOCHS * IMAGES_PER_EPOCH[dataset],
        "duration_s": wall["timeExecution"],
        "energy_j": wall["joules"],
        "correctness": accuracy,
        "correctness_name": "accuracy",
        "accuracy": accuracy,
        "codecarbon_energy_j": J_PER_KWH * estimate["energy_consumed"],
        "codecarbon_gpu_j": J_PER_KWH * estimate["gpu_energy"],
        "codecarbon_cpu_j": J_PER_KWH * estimate["cpu_energy"],
        "codecarbon_ram_j": J_PER_KWH * estimate["ram_energy"],
        "codecarbon_cpu_power_w": estimate["cpu_power"],
    }
