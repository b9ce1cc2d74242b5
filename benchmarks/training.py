"""How fast the training loop is: greencv's beside what one would write without it, in one run.

    .venv/bin/python benchmarks/training.py [--devices cpu cuda] [--architectures NAME ...]

Images per second of training epochs, of the same model on the same images with the same optimiser:

ours      ``greencv_core.training.train``, its "training" phases, on images in memory;
plain     a training script's loop on tensors in memory, shuffled anew in each epoch;
recipe    that loop with the input of torchvision's reference classification recipe: ImageFolder,
          transforms v2 and a DataLoader with two processes, on PNG files of the same images;
streamed  ours on the same files, kept from holding them in memory, with two processes;
limit     forward, backward and step on one batch again and again: no loop can be faster.

Images are not augmented. In each round every contender trains a fresh copy of the model for two
epochs, in an order drawn anew; the second is timed, as the first also takes memory. Ratios are of
the same round; the figures are medians. Takes about ten minutes on two cores that have nothing else
to do; on a busy machine torch's threads spin while they wait for each other, it takes many times as
long, and the figures say little: see the load average. The last line is JSON.
"""

import os
import sys

# Python looks first in the folder of the script that it runs, and there the benchmark of the
# statistics would pass for the standard library's module of that name.
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:] = [path for path in sys.path if os.path.realpath(path or os.curdir) != HERE]
sys.path[:0] = [os.path.dirname(HERE)]

import argparse  # noqa: E402
import copy  # noqa: E402
import gc  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from contextlib import ExitStack, contextmanager, nullcontext  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from unittest import mock  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from torch.utils.data import DataLoader, Subset, TensorDataset  # noqa: E402
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from greencv_core import architectures, environment, training  # noqa: E402
from greencv_core.datasets import acquisition, load_dataset, sources  # noqa: E402
from greencv_core.errors import BadInputError  # noqa: E402
from greencv_core.study import Dataset, EnvironmentSpec, Protocol  # noqa: E402

SEED = 2022
ARCHITECTURES = ("resnet18", "mobilenet_v2", "vgg11")
ROUNDS = 7
CLASSES = 10
VALIDATED = 10
"""Images that ours validates on after each epoch, which is not timed."""
WORKERS = 2
LEARNING_RATE, MOMENTUM = 1e-3, 0.9
EPOCHS = 2
"""Of each training; the last is timed."""
EPOCH_S = 2.0
LEAST_BATCHES, MOST_BATCHES = 4, 200
"""In an epoch, however long they take."""
MOST_BYTES = 4 * 2**30
"""Of an epoch's images as float32."""
TRIED, TRIED_S = 5, 3.0
"""Steps from which the length of an epoch is chosen, and seconds that they take, at least."""
OURS, PLAIN, RECIPE, STREAMED, LIMIT = "ours", "plain", "recipe", "streamed", "limit"
CONTENDERS = (OURS, PLAIN, RECIPE, STREAMED, LIMIT)
BUSY = 0.5
"""Load per CPU at the start above which the figures are called noisy."""
console = Console(width=120)


@dataclass(frozen=True)
class Setting:
    """Where a table's figures are measured."""

    name: str
    spec: EnvironmentSpec
    side: int
    batch: int
    batches: int | None = None
    """In an epoch; as many as take about ``EPOCH_S`` where None."""

    @property
    def device(self):
        return torch.device(self.spec.device)

    @property
    def layout(self):
        return training.memory_format(self.spec)


@dataclass
class Measured:
    images: int
    """Trained on in an epoch."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: {c: [] for c in CONTENDERS})

    def images_per_s(self, contender):
        return [self.images / seconds for seconds in self.seconds[contender]]

    def ratios(self, contender, other):
        """Return the first's images per second in units of the second's, round by round."""
        both = zip(self.seconds[contender], self.seconds[other], strict=True)
        return [theirs / its for its, theirs in both]


def main():
    asked = arguments()
    begun_s, load = time.perf_counter(), load_average()
    machine = environment.describe_machine()
    tell_load("at the start", load, machine)
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        # What is decoded is remembered there, and goes with it.
        os.environ[acquisition.VARIABLE] = str(Path(folder) / "downloads")
        for setting in settings(asked, machine):
            environment.apply(setting.spec)
            found = tables[setting.name] = {}
            for name in asked.architectures:
                with tempfile.TemporaryDirectory(dir=folder) as images:
                    found[name] = measure(setting, name, asked.rounds, Path(images))
            told("")
            show(setting, found, machine)
    tell_load("at the end", load_average(), machine)
    console.print(f"All of this: {(time.perf_counter() - begun_s) / 60:.1f} min.")
    console.print(json.dumps(summary(tables, load, machine)), soft_wrap=True, highlight=False)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    here = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    parser.add_argument("--devices", nargs="+", choices=("cpu", "cuda"), default=here)
    parser.add_argument("--architectures", nargs="+", metavar="NAME")
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS} where omitted")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run of seconds; its figures mean nothing"
    )
    asked = parser.parse_args()
    asked.architectures = asked.architectures or list(ARCHITECTURES[: 1 if asked.quick else None])
    if asked.rounds is None:
        asked.rounds = 2 if asked.quick else ROUNDS
    if asked.rounds < 1:
        parser.error(f"--rounds = {asked.rounds}: must be at least 1")
    if lacking := set(asked.devices) - set(here):
        parser.error(f"--devices = {', '.join(lacking)}: torch finds none here")
    for name in asked.architectures:
        try:
            architectures.check_architecture(name)
        except BadInputError as error:
            parser.error(str(error))
    return asked


def settings(asked, machine):
    """Return what is measured: environments as ``environments: auto`` makes them."""

    def setting(name, device, precision, side, batch):
        if asked.quick:
            side, batch = 32, 16
        spec = EnvironmentSpec(
            name=name, device=device, threads=machine.cpu_count, precision=precision,
            memory_format="channels_last", workers=WORKERS,
        )  # fmt: skip
        return Setting(name, spec, side, batch, batches=2 if asked.quick else None)

    if "cpu" in asked.devices:
        yield setting("cpu", "cpu", "fp32", 32, 64)
    if "cuda" in asked.devices:
        yield setting("cuda_fp32", "cuda:0", "fp32", 224, 128)
        if torch.cuda.is_bf16_supported(including_emulation=False):
            yield setting("cuda_bf16", "cuda:0", "bf16", 224, 128)


# What is measured.


def measure(setting, architecture, rounds, folder):
    told(f"{setting.name}, {architecture}: getting ready")
    torch.manual_seed(SEED)
    initial = architectures.build(architecture, CLASSES, setting.side).module
    initial = initial.to(setting.device, memory_format=setting.layout)
    images = setting.batch * (setting.batches or batches_for(setting, initial))
    measured = Measured(images)
    drawn = random.Random(SEED)
    with ExitStack() as stack:
        contenders = ready(setting, images, folder, stack)
        for number in range(rounds + 1):
            for name in drawn.sample(CONTENDERS, len(CONTENDERS)):
                of = f"round {number} of {rounds}" if number else "warm-up"
                told(f"{setting.name}, {architecture}, {of}: {name}")
                seconds = contenders[name](copy.deepcopy(initial))
                if number:
                    measured.seconds[name].append(seconds)
        del contenders
    gc.collect()
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    return measured


def batches_for(setting, initial):
    """Return how many batches make an epoch of about ``EPOCH_S``, from the fastest step."""
    model = copy.deepcopy(initial)
    optimizer = sgd(model)
    images = torch.rand(setting.batch, 3, setting.side, setting.side, device=setting.device)
    images = images.contiguous(memory_format=setting.layout)
    labels = torch.arange(setting.batch, device=setting.device) % CLASSES
    seconds = []
    model.train()
    while len(seconds) < TRIED or sum(seconds) < TRIED_S:
        with clocked(seconds, setting.device):
            one_step(model, optimizer, images, labels, setting)
    most = MOST_BYTES
    if setting.device.type == "cuda":
        most = min(most, torch.cuda.mem_get_info(setting.device)[0] // 8)
    most_batches = min(MOST_BATCHES, most // (images.numel() * images.element_size()))
    return int(np.clip(round(EPOCH_S / min(seconds)), LEAST_BATCHES, most_batches))


def ready(setting, images, folder, stack):
    """Return the contenders: each trains a model and returns the seconds of its last epoch."""
    spec = Dataset(
        name="synthetic", image_size=setting.side, train_images=images,
        validation_images=VALIDATED, split_seed=SEED,
    )  # fmt: skip
    write_files(spec, folder)
    resident = loaded(spec, setting, stack)
    files = spec.model_copy(update={"name": f"{sources.FOLDER}{folder}"})
    with mock.patch.object(sources, "SHARE_OF_MEMORY", 0.0):
        streamed = loaded(files, setting, stack)
    assert resident.resident
    assert not streamed.resident

    def ours(data):
        return lambda model: by_greencv(model, data, setting, images)

    def script(batches):
        return lambda model: by_script(model, batches, setting, images)

    def limit(model):
        return by_one_batch(model, resident.sample(setting.batch), setting, images)

    in_memory = TensorDataset(*resident.sample(images))
    return {
        OURS: ours(resident),
        PLAIN: script(lambda: shuffled(in_memory, setting)),
        RECIPE: script(recipe(folder, images, setting)),
        STREAMED: ours(streamed),
        LIMIT: limit,
    }


def loaded(spec, setting, stack):
    data = load_dataset(spec, workers=WORKERS).to(setting.device, setting.layout)
    stack.callback(data.close)
    return data


def write_files(spec, folder):
    pool = sources.open_pool(spec, download=False)
    for name in pool.class_names:
        (folder / name).mkdir()

    def write(number):
        path = folder / pool.class_names[pool.labels[number]] / f"{number:06d}.png"
        Image.fromarray(pool.images[number].transpose(1, 2, 0)).save(path, compress_level=1)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, range(len(pool.labels))))


# The contenders.


def by_greencv(model, data, setting, images):
    protocol = Protocol(
        epochs=EPOCHS, optimizer="sgd", learning_rate=LEARNING_RATE, momentum=MOMENTUM,
        nesterov=False, batch_size=setting.batch, repetitions=1,
    )  # fmt: skip
    seconds = []

    def hook(phase, epoch):
        return clocked(seconds, setting.device) if phase == "training" else nullcontext()

    history = training.train(model, data, protocol, setting.spec, seed=SEED, hook=hook)
    assert history.epochs[-1].train_images == images
    return seconds[-1]


def by_script(model, batches, setting, expected):
    optimizer = sgd(model)
    seconds = []
    for _ in range(EPOCHS):
        seen = 0
        with clocked(seconds, setting.device):
            model.train()
            total = torch.zeros((), device=setting.device)
            for images, labels in batches():
                total += one_step(model, optimizer, images, labels, setting).detach()
                seen += len(labels)
            float(total)
        assert seen == expected
    return seconds[-1]


def by_one_batch(model, batch, setting, expected):
    optimizer = sgd(model)
    seconds = []
    model.train()
    for _ in range(EPOCHS):
        with clocked(seconds, setting.device):
            for images, labels in itertools.repeat(batch, expected // setting.batch):
                one_step(model, optimizer, images, labels, setting)
    return seconds[-1]


def one_step(model, optimizer, images, labels, setting):
    half = setting.spec.precision == "bf16"
    with torch.autocast(setting.device.type, torch.bfloat16) if half else nullcontext():
        loss = cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)


def shuffled(dataset, setting):
    """Yield a plain script's batches: all images, already where the model is."""
    order = torch.randperm(len(dataset), device=setting.device)
    for chosen in order.split(setting.batch):
        yield dataset[chosen]


def recipe(folder, images, setting):
    """Return what starts an epoch of torchvision's recipe, less its augmentation."""
    transforms = v2.Compose(
        [
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*architectures.IMAGENET),
            v2.ToPureTensor(),
        ]
    )
    every = ImageFolder(str(folder), transform=transforms)
    on_gpu = setting.device.type == "cuda"
    loader = DataLoader(
        Subset(every, torch.randperm(len(every))[:images].tolist()),
        batch_size=setting.batch, shuffle=True, drop_last=True, num_workers=WORKERS,
        persistent_workers=True, pin_memory=on_gpu,
    )  # fmt: skip

    def batches():
        for pixels, labels in loader:
            yield (
                pixels.to(setting.device, memory_format=setting.layout, non_blocking=True),
                labels.to(setting.device, non_blocking=True),
            )

    return batches


@contextmanager
def clocked(seconds, device):
    gc.collect()
    finish(device)
    begun_s = time.perf_counter()
    yield
    finish(device)
    seconds.append(time.perf_counter() - begun_s)


def finish(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# What is told.


def show(setting, found, machine):
    spec = setting.spec
    device = environment.product_name(environment.device_name(spec, machine))
    table = Table(
        title=f"{setting.name}: {device}, {spec.threads} CPU threads, {spec.precision}, "
        f"{setting.side} px, batches of {setting.batch}",
        title_justify="left",
    )
    for heading in ("Architecture", "Contender"):
        table.add_column(heading)
    for heading in ("Images/s", "min to max", "Ours / this one", "min to max"):
        table.add_column(heading, justify="right")
    for name, measured in found.items():
        for contender in CONTENDERS:
            speeds = measured.images_per_s(contender)
            ratios = measured.ratios(OURS, contender)
            figures = (f"{np.median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}")
            table.add_row(
                f"{name}, {measured.images} images" if contender == OURS else "", contender,
                f"{np.median(speeds):,.0f}", f"{min(speeds):,.0f} to {max(speeds):,.0f}",
                *(figures if contender != OURS else ("", "")),
                end_section=contender == CONTENDERS[-1],
            )  # fmt: skip
    console.print(table)
    streamed = (f"{name} {median(m.ratios(STREAMED, RECIPE)):.3f}" for name, m in found.items())
    console.print(f"Streamed / recipe, both from files: {', '.join(streamed)}.\n")


def summary(tables, load, machine):
    def of_all(figure):
        return {
            setting: {name: figure(measured) for name, measured in found.items()}
            for setting, found in tables.items()
        }

    return {
        "vs_plain": of_all(lambda m: median(m.ratios(OURS, PLAIN))),
        "vs_limit": of_all(lambda m: median(m.ratios(OURS, LIMIT))),
        "vs_recipe": of_all(lambda m: median(m.ratios(OURS, RECIPE))),
        "vs_plain_range": of_all(lambda m: span(m.ratios(OURS, PLAIN))),
        "vs_limit_range": of_all(lambda m: span(m.ratios(OURS, LIMIT))),
        "vs_recipe_range": of_all(lambda m: span(m.ratios(OURS, RECIPE))),
        "streamed_vs_recipe": of_all(lambda m: median(m.ratios(STREAMED, RECIPE))),
        "images_per_s": of_all(lambda m: {c: median(m.images_per_s(c)) for c in CONTENDERS}),
        "rounds": of_all(lambda m: len(m.seconds[OURS])),
        "torch": torch.__version__,
        "threads": machine.cpu_count,
        "load_average_before": load,
    }


def median(values):
    return round(float(np.median(values)), 4)


def span(values):
    return [round(min(values), 4), round(max(values), 4)]


def load_average():
    """Return how many processes wanted a CPU in the last minute; None where that is unknown."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def tell_load(when, load, machine):
    if load is None:
        return
    noisy = when == "at the start" and load > BUSY * machine.cpu_count
    console.print(
        f"Load average {when}: {load:.2f} on {machine.cpu_count} CPUs"
        f"{': others are at work, and the figures noisy' if noisy else ''}."
    )


def told(what):
    print(f"\r{what:<70}", end="" if what else "\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
