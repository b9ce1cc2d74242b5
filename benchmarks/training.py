"""Speed of greencv's training loop, compared with plain PyTorch scripts in one run.

    .venv/bin/python benchmarks/training.py [--devices cpu cuda] [--architectures NAME ...]

Images per second of training epochs, of the same model on the same images with the same optimiser:

ours      ``greencv_core.training.train``, its "training" phases, on images in memory;
metered   ours in an ``EnergyMeter`` as a run of a study is: a window, a phase for each part;
plain     a training script's loop on tensors in memory, shuffled in each epoch;
recipe    that loop with the input of torchvision's reference classification recipe: ImageFolder,
          transforms v2 and a DataLoader with two processes, on PNG files of the same images;
timm      that loop with the loader of timm's training script, on the same files;
streamed  ours on the same files, not held in memory, with two processes;
limit     forward, backward and step on one batch again and again: no loop can be faster.

Images are not augmented. In each round every contender trains a fresh copy of the model, in an
order drawn again. On a CPU it trains for two epochs, the second of which is timed, as the first
also takes memory. On a GPU the round before the first does that, and chooses the kernels; each
epoch is then timed, after some steps that nobody times, so that none begins on a card at rest.
Ratios are of the same round; the figures are medians, and the interval of metered / ours is the
median's, of 95 %. Where a GPU is metered, a last round, which is not timed, gives the images per
joule of its energy, each contender in a window of its own; for metered its own rounds do.

Where there is a GPU, only it is measured unless ``--devices`` says otherwise: resnet50 in bf16
thoroughly, as the project states limits for it, the others in few rounds of short epochs; those
that read files are left out unless ``--contenders`` names them. That takes about two and a half
minutes. A CPU takes about thirteen, of two cores that have nothing else to do; on a
busy machine torch's threads spin while they wait for each other, it takes many times as long, and
the figures say little: see the load average. The last line is JSON.
"""

import search_path  # noqa: F401

# isort: split
import argparse
import copy
import gc
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from benchmarks import training_loops as loops
from benchmarks.output import show_progress
from benchmarks.training_report import (
    Measured,
    console,
    load_average,
    print_load,
    show,
    summary,
)
from greencv_core.architectures import build as architectures
from greencv_core.datasets import download
from greencv_core.machine import environment, hardware
from greencv_core.metering import EnergyMeter, MeterError
from greencv_core.run.experiment import synchronizer
from greencv_core.study.schema import EnvironmentSpec
from greencv_core.utils.errors import BadInputError

ARCHITECTURES = {
    "cpu": ("resnet18", "mobilenet_v2", "vgg11"),
    "cuda_bf16": ("resnet50", "resnet18", "mobilenet_v2"),
    "cuda_fp32": ("resnet50",),
}
"""By setting."""
ROUNDS, FEW_ROUNDS = {"cpu": 7, "cuda": 6}, 2
EPOCH_S, SHORT_EPOCH_S = 2.0, 0.5
"""Seconds of an epoch; the short ones are for quick measurements on a GPU."""
LEAD_S = 0.1  # of steps on a GPU before a timed epoch
LEAST_BATCHES, MOST_BATCHES = 4, 200  # in an epoch, however long they take
MOST_BYTES = 4 * 2**30  # of an epoch's images as float32
FIRST, TRIED, TRIED_S = 2, 5, {"cpu": 3.0, "cuda": 0.5}
"""Steps that choose kernels, steps from which the length of an epoch is chosen, and seconds that
those take, at least."""


def main():
    options = arguments()
    started_s, load = time.perf_counter(), load_average()
    machine = hardware.describe_machine()
    print_load("at the start", load, machine)
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        # What is decoded is remembered there, and goes with it.
        os.environ[download.VARIABLE] = str(Path(folder) / "downloads")
        for setting in settings(options, machine):
            environment.apply(setting.spec)
            found = tables[setting.name] = {}
            for name in setting.architectures:
                with tempfile.TemporaryDirectory(dir=folder) as images:
                    found[name] = measure(setting, name, machine, Path(images))
            show_progress("")
            show(setting, found, machine)
    print_load("at the end", load_average(), machine)
    console.print(f"All of this: {(time.perf_counter() - started_s) / 60:.1f} min.")
    console.print(json.dumps(summary(tables, load, machine)), soft_wrap=True, highlight=False)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    here = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    parser.add_argument("--devices", nargs="+", choices=("cpu", "cuda"), default=here[-1:])
    parser.add_argument("--architectures", nargs="+", metavar="NAME")
    parser.add_argument(
        "--contenders", nargs="+", choices=loops.CONTENDERS, metavar="NAME",
        help=f"some of {', '.join(loops.CONTENDERS)}; ours is always there",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, help="of all alike; see above where omitted")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run of seconds; its figures mean nothing"
    )
    options = parser.parse_args()
    if options.rounds is None and options.quick:
        options.rounds = 2
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds = {options.rounds}: must be at least 1")
    if lacking := set(options.devices) - set(here):
        parser.error(f"--devices = {', '.join(lacking)}: torch finds none here")
    for name in options.architectures or ():
        try:
            architectures.check_architecture(name)
        except BadInputError as error:
            parser.error(str(error))
    return options


def settings(options, machine):
    """Return what is measured: environments as ``environments: auto`` makes them."""

    def setting(name, device, precision, side, batch):
        if options.quick:
            side, batch = 32, 16
        spec = EnvironmentSpec(
            name=name, device=device, threads=machine.cpu_count, precision=precision,
            memory_format="channels_last", workers=loops.WORKERS,
        )  # fmt: skip
        usual = [c for c in loops.CONTENDERS if device == "cpu" or c not in loops.FROM_FILES]
        wanted = {loops.OURS, *(options.contenders or usual)}
        return loops.Setting(
            name, spec, side, batch,
            architectures=tuple(
                options.architectures or ARCHITECTURES[name][: 1 if options.quick else None]
            ),
            contenders=tuple(c for c in loops.CONTENDERS if c in wanted),
            rounds=options.rounds,
            batches=2 if options.quick else None,
        )  # fmt: skip

    if "cpu" in options.devices:
        yield setting("cpu", "cpu", "fp32", 32, 64)
    if "cuda" in options.devices:
        if torch.cuda.is_bf16_supported(including_emulation=False):
            yield setting("cuda_bf16", "cuda:0", "bf16", 128, 256)
        yield setting("cuda_fp32", "cuda:0", "fp32", 128, 256)


def measure(setting, architecture, machine, folder):
    show_progress(f"{setting.name}, {architecture}: getting ready")
    torch.manual_seed(loops.SEED)
    initial = architectures.build(architecture, loops.CLASSES, setting.side).module
    initial = initial.to(setting.device, memory_format=setting.layout)
    passing = setting.in_passing(architecture)
    epoch_s = SHORT_EPOCH_S if passing else EPOCH_S
    images = setting.batch * (setting.batches or batches_for(setting, initial, epoch_s))
    rounds = setting.rounds or (FEW_ROUNDS if passing else ROUNDS[setting.device.type])
    gpus = environment.gpu_uuids(setting.spec, machine)
    # As a run of a study is metered: see greencv_core.run.experiment.
    meter = EnergyMeter(gpus, synchronize=synchronizer(setting.device), compare=True)
    measured = Measured(images)
    drawn = random.Random(loops.SEED)
    with ExitStack() as stack:
        contenders = loops.ready(setting, images, folder, stack)
        lead = lead_in(initial, contenders[loops.OURS].data, setting)

        for number in range(rounds + (2 if gpus else 1)):
            last = number > rounds
            what = "energy" if last else f"round {number} of {rounds}" if number else "warm-up"
            for name in drawn.sample(setting.contenders, len(setting.contenders)):
                if last and name == loops.METERED:
                    continue  # its rounds gave its energy
                show_progress(f"{setting.name}, {architecture}, {what}: {name}")
                metered = last or name == loops.METERED
                clock = loops.Clock(setting.device, lead, meter if metered else None)
                with clock.window():
                    contenders[name](copy.deepcopy(initial), clock)
                if 1 <= number <= rounds:
                    measured.seconds[name].append(clock.seconds)
                if number and (gpu := clock.gpu_energy()) is not None:
                    measured.gpu_energy[name].append(gpu)
        del contenders, lead, clock
    gc.collect()
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    return measured


def batches_for(setting, initial, epoch_s):
    """Return how many batches make an epoch of about ``epoch_s``, from the fastest step."""
    model = copy.deepcopy(initial)
    optimizer = loops.sgd(model)
    images = torch.rand(setting.batch, 3, setting.side, setting.side, device=setting.device)
    images = images.contiguous(memory_format=setting.layout)
    labels = torch.arange(setting.batch, device=setting.device) % loops.CLASSES
    seconds = []
    model.train()
    while len(seconds) < FIRST + TRIED or sum(seconds[FIRST:]) < TRIED_S[setting.device.type]:
        started_s = time.perf_counter()
        loops.one_step(model, optimizer, images, labels, setting)
        loops.finish(setting.device)
        seconds.append(time.perf_counter() - started_s)
    most = MOST_BYTES
    if setting.device.type == "cuda":
        most = min(most, torch.cuda.mem_get_info(setting.device)[0] // 8)
    most_batches = min(MOST_BATCHES, most // (images.numel() * images.element_size()))
    return int(np.clip(round(epoch_s / min(seconds)), LEAST_BATCHES, most_batches))


def lead_in(initial, data, setting):
    """Return what keeps a GPU busy for ``LEAD_S``; nothing on a CPU."""
    if setting.device.type == "cpu":
        return None
    model = copy.deepcopy(initial).train()
    optimizer = loops.sgd(model)
    batch = data.sample(setting.batch)

    def lead():
        started_s = time.perf_counter()
        while time.perf_counter() - started_s < LEAD_S:
            loops.one_step(model, optimizer, *batch, setting)
            loops.finish(setting.device)

    return lead


if __name__ == "__main__":
    try:
        main()
    except MeterError as error:
        sys.exit(f"error: {error}")
