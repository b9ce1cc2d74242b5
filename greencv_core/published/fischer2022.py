"""The measurements of Fischer et al. (ECML PKDD 2022): ImageNet classifiers in two frameworks.

Each run's log is one small JSON file. The energy is that of all GPUs of a machine, from power that
NVML reported about once a second.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from greencv_core.published import load_manifest
from greencv_core.published.card import Card, Defect
from greencv_core.published.tables import complete_table
from greencv_core.utils.downloads import Release
from greencv_core.utils.errors import BadInputError

NAME = "fischer2022"
REPOSITORY = "https://github.com/raphischer/imagenet-energy-efficiency"
COMMIT = "65eb68c"
RELEASE = Release(
    name=NAME,
    base_url=f"https://raw.githubusercontent.com/raphischer/imagenet-energy-efficiency/{COMMIT}",
    hashes=load_manifest(NAME),
    url_path=lambda path: path,
)
NEEDED = tuple(RELEASE.hashes)

TRAINING_IMAGES, VALIDATION_IMAGES = 1_281_167, 50_000
"""Images of ImageNet (ILSVRC 2012) in an epoch."""
CLOCK_JUMP_S = 60.0
"""Largest plausible difference between the duration of a run and that of its monitoring."""
LEARNT_SHARE = 1 / 3
"""Share of the best accuracy in its environment that a training must reach to have learnt."""
SLOW_RATIO = 1.5
"""A run is slow if it took this many times as long as a larger model of its family."""
FRAMEWORKS: Mapping[str, str] = MappingProxyType({"pytorch": "PyTorch", "tensorflow": "TensorFlow"})
_WORD_BREAK = re.compile(r"(?<=[a-z\d])(?=V\d|B\d|ResNetV|Small|Large|Mobile)")
_VARIANT = re.compile(r"(_?b?\d+|_small|_large)$")

CLOCK, FLOPS, UNLEARNT, SLOW = "summer time", "FLOPs", "did not learn", "slow run"


class _Misshapen(ValueError):
    """A file without a value that is needed; the message names it."""


@dataclass(frozen=True)
class _Document:
    """A run's JSON file, read by paths of keys."""

    content: Any

    def get(self, *keys: str) -> Any:
        """Return a value, or fail with the path that is missing."""
        value = self.content
        for depth, key in enumerate(keys, start=1):
            if not isinstance(value, dict) or key not in value:
                raise _Misshapen(f"{'.'.join(keys[:depth])} is missing")
            value = value[key]
        return value

    def number(self, *keys: str) -> float:
        """Return a finite number that is not negative."""
        return _as_number(self.get(*keys), ".".join(keys))


def published_runs(files: Mapping[str, Path]) -> pd.DataFrame:
    """Return the runs table, a row per training.

    It has the columns of the evidence table, ``accuracy`` (of the last epoch, as published),
    ``cpu_energy_j`` (RAPL's, on the machine that has it; not part of ``energy_j``),
    ``published_energy_j``, ``published_gflops_per_image`` and ``marked`` (key of a defect of a run
    that counts nevertheless).

    Raises
    ------
    BadInputError
        Files cannot be read; one line each, and no file is used.
    """
    rows, problems = [], []
    for path in sorted(path for path in NEEDED if path in files):
        try:
            rows.append(_read_run(files[path]))
        except (OSError, ValueError) as error:
            problems.append(f"{NAME}: {path}: {_reason(error)}")
    if problems:
        raise BadInputError("\n".join(problems))
    runs = _correct_flops(pd.DataFrame(rows))
    best = runs.groupby("environment")["accuracy"].transform("max")
    unlearnt = runs["accuracy"] < LEARNT_SHARE * best
    return complete_table(
        runs.assign(
            correctness=runs["accuracy"].mask(unlearnt),
            correctness_left_out=np.where(unlearnt, UNLEARNT, ""),
            marked=np.where(_are_slow(runs), SLOW, ""),
        ),
        NAME,
    )


def _read_run(path: Path) -> dict[str, Any]:
    """Return one run as a row."""
    try:
        document = _Document(json.loads(path.read_bytes()))
    except json.JSONDecodeError as error:
        raise _Misshapen(f"not a whole JSON file ({error.msg}, line {error.lineno})") from error
    framework = FRAMEWORKS.get(document.get("config", "backend"))
    if framework is None:
        raise _Misshapen(f"config.backend must be one of {', '.join(FRAMEWORKS)}")
    accuracies = document.get("results", "history", "val_accuracy")
    if not isinstance(accuracies, list) or not accuracies:
        raise _Misshapen("results.history.val_accuracy must be a list of numbers")
    devices = [key for key in document.get("monitoring_pynvml") if key != "total"]
    device_name = str(document.get("execution_platform", "GPU", "0", "Name"))
    hardware = device_name.removeprefix("NVIDIA ")
    if len(devices) > 1:
        hardware = f"{len(devices)}x {hardware}"
    epochs = len(accuracies)
    started = datetime.fromtimestamp(document.number("results", "start"), UTC)
    energy_j = _energy_j(document, devices)
    return {
        "run": path.stem.removeprefix("train_"),
        "architecture": _WORD_BREAK.sub("_", str(document.get("config", "model"))).lower(),
        "environment": f"{framework}, {hardware}",
        "dataset": "ImageNet",
        "framework": framework,
        "hardware": hardware,
        "device": "cuda",
        "device_name": device_name,
        "batch_size": len(devices) * int(document.number("config", "batch_size")),
        "repetition": 0,
        "started_at": started.isoformat(timespec="seconds"),
        "epochs": epochs,
        "images_processed": epochs * (TRAINING_IMAGES + VALIDATION_IMAGES),
        "duration_s": document.number("duration"),
        "energy_j": energy_j,
        "components": "gpu",
        "gpu_energy_j": energy_j,
        "gpu_provenance": "published",
        **_cpu_energy(document),
        "published_energy_j": document.number("monitoring_pynvml", "total", "total_power_draw"),
        "published_gflops_per_image": 2e-9 * document.number("results", "model", "flops"),
        "parameters": int(document.number("results", "model", "params")),
        "accuracy": _as_number(accuracies[-1], "results.history.val_accuracy"),
        "correctness_name": "accuracy",
        "device_utilization_pct": np.mean(
            [document.number("monitoring_pynvml", one, "util.gpu", "mean") for one in devices]
        ),
    }


def _energy_j(document: _Document, devices: list[str]) -> float:
    """Return the energy of all GPUs, without the time that a change of the clock added."""
    monitoring = "monitoring_pynvml"
    duration_s = document.number("duration")
    monitored_s = document.number(monitoring, "total", "total_duration")
    energy_j = document.number(monitoring, "total", "total_power_draw")
    if not devices or duration_s == 0 or energy_j == 0:
        raise _Misshapen(f"{monitoring} holds no energy, or duration is 0")
    if monitored_s - duration_s <= CLOCK_JUMP_S:
        return energy_j
    mean_w = sum(document.number(monitoring, one, "power_usage", "mean") for one in devices)
    return mean_w * duration_s


def _cpu_energy(document: _Document) -> dict[str, Any]:
    """Return the energy of the processor's package, where the machine has RAPL."""
    if document.get("monitoring_pyrapl") is None:
        return {}
    energy_j = document.number("monitoring_pyrapl", "total", "total_power_draw")
    return {"cpu_energy_j": energy_j, "cpu_provenance": "published"}


def _correct_flops(runs: pd.DataFrame) -> pd.DataFrame:
    """Add the GFLOPs per image, with a plausible figure of the same model for impossible ones.

    Fewer multiply-adds than parameters are impossible: each weight is used at least once per image.
    A figure of the same framework precedes one of the other, and the largest of several is used.
    """
    published = runs["published_gflops_per_image"]
    known = published.where(published >= 2e-9 * runs["parameters"])
    same = known.groupby([runs["architecture"], runs["framework"]]).transform("max")
    other = known.groupby(runs["architecture"]).transform("max")
    return runs.assign(gflops_per_image=known.fillna(same).fillna(other))


def _are_slow(runs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which runs took much longer than a larger model of their family did."""
    family = runs["architecture"].str.replace(_VARIANT, "", regex=True)
    group = (runs["environment"] + "/" + family).to_numpy()
    gflops, duration_s = runs["gflops_per_image"].to_numpy(), runs["duration_s"].to_numpy()
    larger = (group == group[:, None]) & (gflops > gflops[:, None])
    slower = duration_s[:, None] > SLOW_RATIO * duration_s
    return np.asarray((larger & slower).any(axis=1))


def _as_number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Misshapen(f"{name} must be a number")
    if not math.isfinite(value) or value < 0:
        raise _Misshapen(f"{name} is {value}; it must be finite and not negative")
    return float(value)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror})"
    return str(error) if isinstance(error, _Misshapen) else "not a text file in UTF-8"


CARD = Card(
    key=NAME,
    title="A unified framework for assessing energy efficiency of machine learning",
    authors="Raphael Fischer, Matthias Jakobs, Sascha Mücke and Katharina Morik",
    year=2022,
    url="https://doi.org/10.1007/978-3-031-23618-1_3",
    repository=REPOSITORY,
    commit=COMMIT,
    licence="MIT",
    citation="fischer2022",
    laboratory="TU Dortmund (Lamarr Institute)",
    trained=(
        "21 architectures on ImageNet for ten epochs, in TensorFlow and PyTorch, on eight A100 or "
        "on one Quadro RTX 5000; 56 runs, one per condition."
    ),
    measured=(
        "Energy of all GPUs over training and validation, idle power included: power from NVML "
        "about once a second. The RTX 5000 machine also has the processor's energy from RAPL, "
        "in a separate column."
    ),
    columns=MappingProxyType(
        {
            "energy_j": "monitoring_pynvml.total.total_power_draw",
            "duration_s": "duration",
            "correctness": "results.history.val_accuracy, of the last epoch",
            "gflops_per_image": "results.model.flops x 2 / 10^9 (the file counts multiply-adds)",
            "parameters": "results.model.params",
            "batch_size": "config.batch_size x number of GPUs",
            "cpu_energy_j": "monitoring_pyrapl.total.total_power_draw",
            "device_utilization_pct": "mean of monitoring_pynvml.*.util.gpu.mean",
            "started_at": "results.start",
        }
    ),
    defects=(
        Defect(
            key=CLOCK,
            found="The monitor stamps its samples with local time. MobileNetV3-Large (PyTorch, "
            "RTX 5000) ran while the clock changed to summer time, so one sample counts for an "
            "hour: 6.03 MJ instead of 5.46 MJ.",
            rule="If the monitoring lasts more than 60 s longer than the run, the energy is the "
            "mean power times the run's duration.",
            effect="corrected",
        ),
        Defect(
            key=FLOPS,
            found="The FLOPs of all 13 PyTorch runs on A100 are 0, and those of TensorFlow's "
            "MobileNetV3 are about a hundredth of the true figure.",
            rule="Fewer multiply-adds than parameters are impossible: another run's figure for the "
            "same model replaces them, of the same framework if there is one.",
            effect="corrected",
        ),
        Defect(
            key=UNLEARNT,
            found="15 PyTorch trainings end at an accuracy between 0.001 (chance) and 0.126; two "
            "of them, VGG16 and VGG19 on the RTX 5000, had reached 0.29 before.",
            rule="Runs that end below a third of the best accuracy in their environment keep their "
            "energy and lose their accuracy.",
            effect="correctness left out",
        ),
        Defect(
            key=SLOW,
            found="EfficientNet-B1 (PyTorch, A100) took 34,255 s, where the larger B2 took "
            "16,559 s: something else slowed this run down.",
            rule="A run that took more than 1.5 times as long as a larger model of its family in "
            "the same environment is marked; it counts, as its energy was measured.",
            effect="kept",
        ),
    ),
    limits=(
        "Each condition has one run, so nothing is known of the spread between runs.",
        "The batch size is 32 per GPU: type and number of GPUs and the batch over all of them "
        "change together.",
        "Ten epochs are too few for most of these models; TensorFlow and PyTorch runs also differ "
        "in optimiser settings and preprocessing.",
    ),
)
