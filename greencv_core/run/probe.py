"""A few batches of a condition, timed and metered: what its runs will take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from greencv_core import datasets, training
from greencv_core.estimation.run_cost import PROBE_S, ProbeResult
from greencv_core.machine import environment, hardware
from greencv_core.metering import EnergyMeter
from greencv_core.run.experiment import Ready, prepare, synchronizer
from greencv_core.study.plan import PlannedRun

FEW_BATCHES = 16
"""Of made-up images; they are trained on again and again."""


def probe(run: PlannedRun, machine: hardware.Machine, for_s: float = PROBE_S) -> ProbeResult:
    """Train and validate on a few batches of a condition, and meter them; keep nothing.

    What time does not depend on is not downloaded for it: weights are drawn, and where the images
    are not on this machine yet, made-up ones of their size stand in.

    Parameters
    ----------
    for_s
        How long a stage's batches are timed, at least.
    """
    begun_s = time.monotonic()
    drawn = run.protocol.model_copy(update={"weights": "none"})
    run = replace(run, protocol=drawn)
    if not datasets.is_downloaded(run.dataset):
        classes = datasets.count_classes(run.dataset)
        few = {"train_images": min(run.dataset.train_images, FEW_BATCHES * run.protocol.batch_size)}
        few["validation_images"] = min(run.dataset.validation_images, 2 * training.EVALUATION_BATCH)
        stand_in = run.dataset.model_copy(update={"name": "synthetic", "classes": classes, **few})
        run = replace(run, dataset=stand_in)
    with contextlib.closing(prepare(run)) as ready:
        synchronize = synchronizer(ready.device) or (lambda: None)
        meter = EnergyMeter(
            environment.gpu_uuids(run.environment, machine), synchronize=synchronizer(ready.device)
        )
        setup_s = time.monotonic() - begun_s
        with meter as window:
            timed = {
                name: _time_training(run, ready, name, synchronize, for_s)
                for name, _ in run.protocol.stages
            }
            validation_s = _time_validation(run, ready, synchronize)
        size = ready.gflops_per_image, ready.parameters
    end_s = time.monotonic()
    reading = window.reading
    return ProbeResult(
        train_s_per_image={name: each_s for name, (each_s, _) in timed.items()},
        validation_s_per_image=validation_s,
        power_w=reading.total.energy_j / reading.duration_s if reading.total else None,
        provenance=reading.total.provenance if reading.total else None,
        around_s=setup_s + time.monotonic() - end_s,
        gflops_per_image=size[0],
        parameters=size[1],
        batches=sum(batches for _, batches in timed.values()),
    )


def keep_busy(run: PlannedRun, duration_s: float) -> None:
    """Train a condition for a while, unmetered, and keep nothing: the machine is warm then."""
    with contextlib.closing(prepare(run)) as ready:
        end_s = time.monotonic() + duration_s
        name = run.protocol.stages[0][0]
        while time.monotonic() < end_s:
            _time_training(run, ready, name, synchronizer(ready.device) or (lambda: None), PROBE_S)


def _time_training(
    run: PlannedRun, ready: Ready, stage: str, synchronize: Callable[[], None], for_s: float
) -> tuple[float, int]:
    """Return seconds a training image, of how many batches: at least two, for so long."""
    batches = 0
    with training.training_step(stage, ready.module, run.protocol, run.environment) as step:
        synchronize()
        start_s = time.perf_counter()
        while True:
            generator = torch.Generator().manual_seed(0)
            for images, labels in ready.data.train_batches(run.protocol.batch_size, generator):
                step(images, labels)
                batches += 1
                # To wait for a GPU after each batch would slow it down.
                if batches >= 2 and batches.bit_count() == 1:
                    synchronize()
                    elapsed_s = time.perf_counter() - start_s
                    if elapsed_s >= for_s:
                        return elapsed_s / (batches * run.protocol.batch_size), batches


def _time_validation(run: PlannedRun, ready: Ready, synchronize: Callable[[], None]) -> float:
    """Return seconds a validation image: of a whole validation if that is quick, else of batches.

    A whole one computes the correctness, too, which of few images is no small part of it.
    """
    seen, start_s = 0, time.perf_counter()
    for images, _ in ready.data.validation_batches(training.EVALUATION_BATCH):
        training.predict(ready.module, images, run.environment)
        synchronize()
        seen += len(images)
        if seen >= 2 * training.EVALUATION_BATCH:
            break
    each_s, count = (time.perf_counter() - start_s) / seen, ready.data.validation_count
    if each_s * count > PROBE_S:
        return each_s
    training.evaluate(ready.module, ready.data, run.environment)  # the first sets things up
    start_s = time.perf_counter()
    training.evaluate(ready.module, ready.data, run.environment)
    return (time.perf_counter() - start_s) / count
