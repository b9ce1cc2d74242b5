"""Train a few batches of a condition, timed and metered, to estimate the cost of its runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from greencv_core import datasets, training
from greencv_core.estimation.run_cost import PROBE_S, ProbeResult
from greencv_core.machine import environment, hardware
from greencv_core.machine.load import CpuLoad
from greencv_core.metering import EnergyMeter
from greencv_core.run.experiment import TrainingSetup, prepare, synchronizer
from greencv_core.study.plan import PlannedRun

FEW_BATCHES = 16  # number of batches of synthetic images, which are trained on repeatedly


def probe(run: PlannedRun, machine: hardware.Machine, for_s: float = PROBE_S) -> ProbeResult:
    """Train and validate on a few batches of a condition, and return their time and energy.

    Nothing is downloaded for it: weights are random, and synthetic images of the same size replace
    those that are not on this machine yet. The batches of each stage take at least ``for_s``.
    """
    start_s = time.monotonic()
    run = replace(run, protocol=run.protocol.model_copy(update={"weights": "none"}))
    if not datasets.is_downloaded(run.dataset):
        classes = datasets.count_classes(run.dataset)
        few = {"train_images": min(run.dataset.train_images, FEW_BATCHES * run.protocol.batch_size)}
        few["validation_images"] = min(run.dataset.validation_images, 2 * training.EVALUATION_BATCH)
        synthetic = run.dataset.model_copy(update={"name": "synthetic", "classes": classes, **few})
        run = replace(run, dataset=synthetic)
    with prepare(run) as setup:
        waits = synchronizer(setup.device)
        synchronize = waits or (lambda: None)
        meter = EnergyMeter(environment.gpu_uuids(run.environment, machine), synchronize=waits)
        setup_s, load = time.monotonic() - start_s, CpuLoad()
        with meter as window:
            timed = {
                name: _time_training(run, setup, name, synchronize, for_s)
                for name, _ in run.protocol.stages
            }
            validation_s = _time_validation(run, setup, synchronize)
        others_share = load.share_of_others()
    end_s = time.monotonic()
    reading = window.reading
    return ProbeResult(
        train_s_per_image={name: each_s for name, (each_s, _) in timed.items()},
        validation_s_per_image=validation_s,
        power_w=reading.total.energy_j / reading.duration_s if reading.total else None,
        provenance=reading.total.provenance if reading.total else None,
        around_s=setup_s + time.monotonic() - end_s,
        gflops_per_image=setup.gflops_per_image,
        parameters=setup.parameters,
        batches=sum(batches for _, batches in timed.values()),
        others_share=others_share,
    )


def keep_busy(run: PlannedRun, duration_s: float) -> None:
    """Train a condition for some time, unmetered, to warm the machine up."""
    with prepare(run) as setup:
        end_s = time.monotonic() + duration_s
        name = run.protocol.stages[0][0]
        while time.monotonic() < end_s:
            _time_training(run, setup, name, synchronizer(setup.device) or (lambda: None), PROBE_S)


def _time_training(
    run: PlannedRun, setup: TrainingSetup, stage: str, synchronize: Callable[[], None], for_s: float
) -> tuple[float, int]:
    """Return the seconds per training image, and the number of batches (at least two)."""
    batches = 0
    with training.training_step(stage, setup.module, run.protocol, run.environment) as step:
        synchronize()
        start_s = time.perf_counter()
        while True:
            generator = torch.Generator().manual_seed(0)
            for images, labels in setup.data.train_batches(run.protocol.batch_size, generator):
                step(images, labels)
                batches += 1
                # Waiting for a GPU after each batch would slow it down.
                if batches >= 2 and batches.bit_count() == 1:
                    synchronize()
                    elapsed_s = time.perf_counter() - start_s
                    if elapsed_s >= for_s:
                        return elapsed_s / (batches * run.protocol.batch_size), batches


def _time_validation(
    run: PlannedRun, setup: TrainingSetup, synchronize: Callable[[], None]
) -> float:
    """Return the seconds per validation image: of a whole validation if that is quick.

    A whole validation includes the metrics, which take a large part of the time for few images.
    """
    images_done, start_s = 0, time.perf_counter()
    for images, _ in setup.data.validation_batches(training.EVALUATION_BATCH):
        training.predict(setup.module, images, run.environment)
        synchronize()
        images_done += len(images)
        if images_done >= 2 * training.EVALUATION_BATCH:
            break
    each_s, count = (time.perf_counter() - start_s) / images_done, setup.data.validation_count
    if each_s * count > PROBE_S:
        return each_s
    training.evaluate(setup.module, setup.data, run.environment)  # the first one has set-up costs
    start_s = time.perf_counter()
    training.evaluate(setup.module, setup.data, run.environment)
    return (time.perf_counter() - start_s) / count
