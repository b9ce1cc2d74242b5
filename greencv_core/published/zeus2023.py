"""The traces of You et al. (Zeus, NSDI 2023): batch size and power limit on four GPUs.

A power trace has the time and mean power of one epoch for each combination of batch size and power
limit; the train trace has the epochs that a training needed to reach an accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
import pandas as pd

from greencv_core.published import load_manifest
from greencv_core.published.card import Card, Defect
from greencv_core.published.tables import complete_table
from greencv_core.utils.downloads import Release
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import count, one_line

NAME = "zeus2023"
COMMIT = "75a8b93"
FOLDER = "examples/research_reproducibility/zeus_nsdi23/trace"
RELEASE = Release(
    name=NAME,
    base_url=f"https://raw.githubusercontent.com/ml-energy/zeus/{COMMIT}",
    hashes=load_manifest(NAME),
    url_path=lambda path: path,
    other_layouts=(
        lambda path: f"zeus_nsdi23/{PurePosixPath(path).name}",
        lambda path: PurePosixPath(path).name,
    ),
)
NEEDED = tuple(RELEASE.hashes)
TRAIN_TRACE = f"{FOLDER}/summary_train.csv"
HARDWARE: Mapping[str, str] = MappingProxyType(
    {"a40": "A40", "p100": "P100", "rtx6000": "Quadro RTX 6000", "v100": "V100"}
)
"""Name of the GPU by the end of its file's name."""


@dataclass(frozen=True)
class Workload:
    """An image classifier of the traces, and what their files do not say."""

    architecture: str
    dataset: str
    training_images: int
    multiply_adds: int
    """Of the convolutions and linear layers, for one image."""
    parameters: int


WORKLOADS: Mapping[tuple[str, str], Workload] = MappingProxyType(
    {
        ("cifar100", "shufflenetv2"): Workload(
            "shufflenet_v2", "CIFAR-100", 50_000, 43_675_520, 1_360_896
        ),
        ("imagenet", "resnet50"): Workload(
            "resnet50", "ImageNet", 1_281_167, 4_089_184_256, 25_557_032
        ),
    }
)
"""The image classifiers by data set and network. ShuffleNetV2 is that of Zeus' CIFAR-100 example,
copied from weiaicunzai/pytorch-cifar100: width 1, images of 32 x 32 pixels, a first stride of 1.
ResNet-50 is torchvision's, with images of 224 x 224 pixels."""
OTHER_WORKLOADS = frozenset(
    {
        ("librispeech", "deepspeech2"),
        ("movielens-1m", "ncf"),
        ("sentiment140", "bert_base_uncased"),
        ("squad", "bert_base_uncased"),
    }
)
"""Language, speech and recommendation: not image classifiers, and left out by name."""
OPTIMIZERS: Mapping[str, str] = MappingProxyType({"adadelta": "Adadelta", "adam": "Adam"})
TRAINED_WITH = "Adadelta"
"""The train trace's optimiser for image classifiers."""
POWER_MARGIN = 1.02
"""Mean power above the limit, as a multiple, from which the limit did not hold."""
MOST_LINES = 3
"""More bad lines of a file than this are counted."""
OVER_LIMIT = "power above the limit"

TEXTS = ("dataset", "network", "optimizer")
NOT_REACHED = "target_epoch"
"""Column that is ``nan`` where a training did not reach the target."""

_CONDITION = (*TEXTS, "batch_size", "power_limit")
_REPETITION = (*TEXTS, "batch_size", "run", "target_metric")
_VALUES = ("time_per_epoch", "average_power")


def published_runs(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return the runs table: one epoch for each GPU, batch size, power limit and optimiser.

    It has the columns of the evidence table and ``optimizer``. The traces have no correctness for
    these epochs; see :func:`energy_to_target`.

    Raises
    ------
    BadInputError
        Files cannot be read; one line for each problem, and no file is used.
    """
    traces, problems = [], []
    for key, hardware in HARDWARE.items():
        path = f"{FOLDER}/summary_power_{key}.csv"
        trace, found = _read_trace(files[path], path, _CONDITION, _VALUES)
        traces.append(trace.assign(hardware=hardware))
        problems += found
    if problems:
        raise BadInputError("\n".join(problems))
    trace = pd.concat(traces, ignore_index=True)
    optimizer = trace["optimizer"].map(OPTIMIZERS).fillna(trace["optimizer"])
    batch_size = trace["batch_size"].astype(int)
    environment = (
        trace["hardware"] + ", batch size " + batch_size.astype(str)
        + ", " + trace["power_limit"].map("{:g}".format) + " W"
        + np.where(optimizer == TRAINED_WITH, "", ", " + optimizer)
    )  # fmt: skip
    energy_j = trace["average_power"] * trace["time_per_epoch"]
    over = trace["average_power"] > POWER_MARGIN * trace["power_limit"]
    runs = pd.DataFrame(
        {
            "run": trace["architecture"] + "/" + environment,
            "architecture": trace["architecture"],
            "environment": environment,
            "dataset": trace["dataset"],
            "framework": "PyTorch",
            "hardware": trace["hardware"],
            "device": "cuda",
            "device_name": trace["hardware"],
            "batch_size": batch_size,
            "power_limit_w": trace["power_limit"],
            "optimizer": optimizer,
            "repetition": 0,
            "epochs": 1,
            "images_processed": trace["training_images"],
            "duration_s": trace["time_per_epoch"],
            "energy_j": energy_j,
            "components": "gpu",
            "gpu_energy_j": energy_j,
            "gpu_provenance": "published",
            "gflops_per_image": 2e-9 * trace["multiply_adds"],
            "parameters": trace["parameters"],
            "left_out": np.where(over, OVER_LIMIT, ""),
        }
    )
    return complete_table(runs, NAME)


def epochs_to_target(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return the epochs that each training needed to reach an accuracy.

    Columns: ``architecture``, ``dataset``, ``batch_size``, ``optimizer``, ``repetition``,
    ``target`` (accuracy, 0 to 1) and ``epochs``, NaN where the training did not reach it. Errors
    as :func:`published_runs`.
    """
    trace, problems = _read_trace(files[TRAIN_TRACE], TRAIN_TRACE, _REPETITION, (NOT_REACHED,))
    if problems:
        raise BadInputError("\n".join(problems))
    return pd.DataFrame(
        {
            "architecture": trace["architecture"],
            "dataset": trace["dataset"],
            "batch_size": trace["batch_size"].astype(int),
            "optimizer": trace["optimizer"].map(OPTIMIZERS).fillna(trace["optimizer"]),
            "repetition": trace["run"].astype(int) - 1,
            "target": trace["target_metric"].round(4),
            "epochs": trace["target_epoch"],
        }
    )


def energy_to_target(runs: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Return the energy to reach an accuracy: energy of an epoch x mean number of epochs.

    Parameters
    ----------
    runs
        As :func:`published_runs` returns them; runs that are left out do not count.
    epochs
        As :func:`epochs_to_target` returns them.

    Returns
    -------
    One row for each run and target, with ``epochs`` (mean), ``epochs_sd``, ``repetitions``,
    ``reached`` and ``energy_j_to_target``, NaN unless all repetitions reached the target.
    """
    keys = ["architecture", "dataset", "batch_size", "optimizer"]
    groups = epochs.groupby([*keys, "target"])["epochs"]
    needed = groups.agg(epochs="mean", epochs_sd="std", reached="count", repetitions="size")
    counted = runs.loc[runs["left_out"] == "", [*keys, "hardware", "power_limit_w", "energy_j"]]
    merged = counted.merge(needed.reset_index(), on=keys)
    all_reached = merged["reached"] == merged["repetitions"]
    energy_j = (merged["energy_j"] * merged["epochs"]).where(all_reached)
    return merged.assign(energy_j_to_target=energy_j)


def _read_trace(
    file: Path, path: str, keys: tuple[str, ...], values: tuple[str, ...]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the image classifiers of a trace, and a line for each problem.

    ``keys`` are the columns that identify a line; ``values`` further columns of numbers.
    """
    try:
        trace = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        return pd.DataFrame(), [f"{NAME}: {path}: cannot be read ({one_line(error)})"]
    missing = [name for name in (*keys, *values) if name not in trace]
    if missing:
        return pd.DataFrame(), [f"{NAME}: {path}: no column {', '.join(missing)}"]
    names = pd.Series(list(zip(trace["dataset"], trace["network"], strict=True)), trace.index)
    images = names.isin(list(WORKLOADS))
    problems = [
        f"line {row + 2}: unknown workload {'/'.join(map(str, names[row]))}"
        for row in trace.index[~images & ~names.isin(list(OTHER_WORKLOADS))]
    ]
    trace, names = trace[images].copy(), names[images]
    for name in (*keys, *values):
        if name not in TEXTS:
            numbers = pd.to_numeric(trace[name], errors="coerce").replace(np.inf, np.nan)
            wrong = ~(numbers > 0) & ~((trace[name] == "nan") & (name == NOT_REACHED))
            problems += [
                f"line {row + 2}: {name} is '{trace.loc[row, name]}'; it must be a number above 0"
                for row in trace.index[wrong]
            ]
            trace[name] = numbers
    repeated = trace.index[trace.duplicated(list(keys))]
    problems += [f"line {row + 2}: repeats the condition of an earlier line" for row in repeated]
    shown = [f"{NAME}: {path}, {problem}" for problem in problems[:MOST_LINES]]
    if len(problems) > MOST_LINES:
        shown.append(f"{NAME}: {path}: {count(len(problems) - MOST_LINES, 'more problem')}")
    about = pd.DataFrame([asdict(WORKLOADS[name]) for name in names], trace.index)
    return trace.drop(columns="dataset").join(about), shown


CARD = Card(
    key=NAME,
    title="Zeus: understanding and optimizing GPU energy consumption of DNN training",
    authors="Jie You, Jae-Won Chung and Mosharaf Chowdhury",
    year=2023,
    url="https://www.usenix.org/conference/nsdi23/presentation/you",
    repository="https://github.com/ml-energy/zeus",
    commit=COMMIT,
    licence="Apache-2.0",
    citation="you2023",
    laboratory="University of Michigan (ML.ENERGY)",
    trained=(
        "ShuffleNetV2 on CIFAR-100 and ResNet-50 on ImageNet, one epoch for each combination of "
        "GPU (A40, P100, Quadro RTX 6000, V100), batch size (8 to 8,192) and power limit (100 to "
        "300 W): 596 runs, one per condition. For each batch size, 1 to 10 trainings show how many "
        "epochs an accuracy needs."
    ),
    measured="Energy of one GPU over an epoch: its mean power times the epoch's duration.",
    columns=MappingProxyType(
        {
            "energy_j": "average_power x time_per_epoch",
            "duration_s": "time_per_epoch",
            "power_limit_w": "power_limit",
            "batch_size": "batch_size",
            "images_processed": "training images of the data set (50,000 or 1,281,167)",
            "gflops_per_image": "not in the files: counted from the architecture",
            "parameters": "not in the files: counted from the architecture",
        }
    ),
    defects=(
        Defect(
            key=OVER_LIMIT,
            found="12 epochs on A40 report a mean power 6 to 21% above the limit of 100 W: the "
            "limit did not hold.",
            rule="Runs whose mean power is more than 2% above the power limit are left out.",
            effect="left out",
        ),
    ),
    limits=(
        "Each combination was measured once, so nothing is known of the spread between runs.",
        "The files do not say whether an epoch includes validation; only training images count.",
        "The GPUs are of different generations: a newer one can save energy without being larger.",
        "Each data set has one architecture, so nothing can be asked about architectures.",
        "The traces' language, speech and recommendation models are left out by name.",
    ),
)
