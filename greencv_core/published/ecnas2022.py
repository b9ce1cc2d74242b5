"""The measurements of EC-NAS-Bench (Bakhtiarifard et al.) as our runs table.

All 91 cells of NAS-Bench-101 with at most four vertices, trained three times for four epochs on
CIFAR-10. carbontracker measured the GPU and both CPUs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import pandas as pd

from greencv_core.published import load_manifest
from greencv_core.published.card import Card, Defect
from greencv_core.published.nasbench import Cost, network_cost
from greencv_core.published.tables import complete_table, read_content
from greencv_core.utils.downloads import Release
from greencv_core.utils.errors import BadInputError

NAME = "ecnas2022"
COMMIT = "1a82fdde59bf61cb6a2b9d41bc984c3edbd2b2bf"
FOLDER = "ecnas/vendors/ec_nasbench/nasbench/data"
GRAPHS = f"{FOLDER}/graphs/generated_graphs_4V9E.json"
ENVIRONMENT = "Quadro RTX 6000"
BATCH_SIZE = 256
"""Images in a batch, of training and evaluation."""
EVALUATIONS = 3 * 3
"""Evaluations in a run: of three sets, at the start, after the first epoch and at the end."""
EVALUATED_IMAGES = 39 * BATCH_SIZE
"""Images in an evaluation: every published accuracy is a whole number of them."""


def _in_short_folders(path: str) -> str:
    """Return a file's place in a folder ``ecnas`` without the repository's folders."""
    parts = PurePosixPath(path).parts
    return f"ecnas/{parts[-1]}" if path == GRAPHS else "/".join(["ecnas/4V9E", *parts[-3:]])


RELEASE = Release(
    name=NAME,
    base_url=f"https://raw.githubusercontent.com/saintslab/EC-NAS-Bench/{COMMIT}",
    hashes=load_manifest(NAME),
    url_path=lambda path: path,
    other_layouts=(_in_short_folders,),
)
NEEDED = tuple(RELEASE.hashes)

CARD = Card(
    key=NAME,
    title="EC-NAS: Energy consumption aware tabular benchmarks for neural architecture search",
    authors="Pedram Bakhtiarifard, Christian Igel and Raghavendra Selvan",
    year=2022,
    url="https://arxiv.org/abs/2210.06015",
    repository="https://github.com/saintslab/EC-NAS-Bench",
    commit=COMMIT,
    licence="MIT",
    citation="bakhtiarifard2024",
    laboratory="SAINTS Lab, University of Copenhagen",
    trained=(
        "The 91 cells of NAS-Bench-101 with at most four vertices, in TensorFlow on CIFAR-10 "
        "(32 x 32 pixels, batch size 256) for four epochs, three times each: 273 runs."
    ),
    measured=(
        "Energy of one GPU and both CPUs over the whole run, evaluations and idle power included, "
        "by carbontracker."
    ),
    columns=MappingProxyType(
        {
            "energy_j": "avg_energy_usages (J) of GPU and CPUs",
            "gpu_energy_j": "avg_energy_usages (J) of the GPU",
            "cpu_energy_j": "avg_energy_usages (J) of both CPUs",
            "duration_s": "total_time",
            "images_processed": "160,000 training images, and nine evaluations of 9,984 images",
            "correctness": "test_accuracy after four epochs",
            "parameters": "trainable_params",
            "gflops_per_image": "computed from the cell's graph, where the parameters agree",
            "energy_j_first_epoch": "energy (kWh) of the first epoch, without the PUE",
            "energy_j_later_epochs": "energy (kWh) of the three later epochs, without the PUE",
            "started_at": "start_emission",
        }
    ),
    defects=(
        Defect(
            key="PUE",
            found="total_energy (kWh) is 1.59 times the energy of GPU and CPUs in every run: an "
            "assumed overhead of a data centre.",
            rule="The energy is the sum of the joules of GPU and CPUs.",
            effect="corrected",
        ),
    ),
    limits=(
        "After four epochs the accuracy is far from final: 0.17 to 0.73 (medians of three runs).",
        "Two machines did about three runs at once each, so the CPU energy of a run includes work "
        "for others. With GPU energy alone, the rank correlation with GFLOPs is the same (0.88).",
        "The energy is known before training, after one epoch and after four, each with the start "
        "of a new session. These three readings cannot test a forecast from epoch to epoch.",
    ),
)


def published_runs(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return the runs table, one row a training.

    It has the columns of the runs table and the evidence table, ``energy_j_first_epoch`` and
    ``energy_j_later_epochs``.

    Raises
    ------
    BadInputError
        Files cannot be read; one line each, and no file is used.
    """
    problems: list[str] = []
    with ThreadPoolExecutor() as executor:
        contents = dict(zip(files, executor.map(Path.read_bytes, files.values()), strict=True))
    costs = read_content(NAME, GRAPHS, partial(_costs, contents[GRAPHS]), problems) or {}
    rows = [
        read_content(NAME, path, partial(_row, path, contents[path]), problems)
        for path in files
        if path != GRAPHS
    ]
    if problems:
        raise BadInputError("\n".join(problems))
    runs = pd.DataFrame(rows)
    cost = [costs[cell] for cell in runs["cell"]]
    agree = runs["parameters"] == [one.parameters for one in cost]
    gflops = pd.Series([2e-9 * one.multiply_adds for one in cost], index=runs.index)
    runs["gflops_per_image"] = gflops.where(agree)
    return complete_table(runs.drop(columns="cell"), NAME)


def _costs(content: bytes) -> dict[str, Cost]:
    return {name: network_cost(*graph) for name, graph in json.loads(content).items()}


def _row(path: str, content: bytes) -> dict[str, Any]:
    result = json.loads(content)
    cell, repetition = PurePosixPath(path).parts[-3:-1]
    used = result["avg_power_usages:"]
    gpu_j, cpu_j = (
        sum(sum(part) for part in used[name]["avg_energy_usages (J)"]) for name in ("gpu", "cpu")
    )
    total_kwh = result["total_energy (kWh)"]
    last = result["evaluation_results"][-1]
    so_far = [one["energy (kWh)"] for one in result["evaluation_results"]]
    share = (gpu_j + cpu_j) / total_kwh  # J per kWh with the PUE in it
    images = last["training_steps"] * BATCH_SIZE + EVALUATIONS * EVALUATED_IMAGES
    return {
        "run": f"{cell}/{repetition}",
        "cell": cell,
        "architecture": f"cell_{cell[:8]}",
        "environment": ENVIRONMENT,
        "dataset": "CIFAR-10",
        "framework": "TensorFlow",
        "hardware": f"1x {ENVIRONMENT} and its 2 CPUs",
        "device": "cuda",
        "device_name": used["gpu"]["devices"][0],
        "batch_size": BATCH_SIZE,
        "image_size": 32,
        "repetition": int(repetition.removeprefix("repeat_")) - 1,
        "started_at": result["start_emission"].replace(" ", "T"),
        "epochs": round(last["epochs"]),
        "images_processed": images,
        "duration_s": result["total_time"],
        "energy_j": gpu_j + cpu_j,
        "gpu_energy_j": gpu_j,
        "cpu_energy_j": cpu_j,
        "gpu_provenance": "published",
        "cpu_provenance": "published",
        "components": "gpu+cpu",
        "parameters": result["trainable_params"],
        "correctness": last["test_accuracy"],
        "correctness_name": "accuracy",
        "accuracy": last["test_accuracy"],
        "energy_j_first_epoch": share * (so_far[1] - so_far[0]),
        "energy_j_later_epochs": share * (so_far[2] - so_far[1]),
    }
