"""How fast the training loop is: greencv's beside what one would write without it, in one run.

    .venv/bin/python benchmarks/training.py [--devices cpu cuda] [--architectures NAME ...]

Images per second of training epochs, of the same model on the same images with the same optimiser:

ours      ``greencv_core.training.train``, its "training" phases, on images in memory;
metered   ours in an ``EnergyMeter`` as a run of a study is: a window, a phase for each part;
plain     a training script's loop on tensors in memory, shuffled anew in each epoch;
recipe    that loop with the input of torchvision's reference classification recipe: ImageFolder,
          transforms v2 and a DataLoader with two processes, on PNG files of the same images;
streamed  ours on the same files, kept from holding them in memory, with two processes;
limit     forward, backward and step on one batch again and again: no loop can be faster.

Images are not augmented. In each round every contender trains a fresh copy of the model, in an
order drawn anew. On a CPU it trains for two epochs, the second of which is timed, as the first also
takes memory. On a GPU the round before the first does that, and chooses the kernels; each epoch is
then timed, after some steps that nobody times, so that none begins on a card at rest. Ratios are of
the same round; the figures are medians, and the interval beside metered / ours is the median's, of
95 %. Where a GPU is metered, a last round, which is not timed, tells the images per joule of its
energy, each contender in a window of its own; metered is told by its own rounds.

Where there is a GPU, it alone is looked at unless ``--devices`` says otherwise: resnet50 in bf16
thoroughly, as the project states limits for it, the others in few rounds of short epochs; recipe
and streamed, which read files, are left out unless ``--contenders`` names them. That takes about
two and a half minutes. A CPU takes about twelve, of two cores that have nothing else to do; on a
busy machine torch's threads spin while they wait for each other, it takes many times as long, and
the figures say little: see the load average. The last line is JSON.
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
import json  # noqa: E402
import random  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Callable  # noqa: E402
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
from scipy.stats import quantile_test  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402
from torch.utils.data import DataLoader, Subset, TensorDataset  # noqa: E402
from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

from greencv_core import training  # noqa: E402
from greencv_core.architectures import build as architectures  # noqa: E402
from greencv_core.datasets import ImageData, download, load_dataset, registry  # noqa: E402
from greencv_core.machine import environment, hardware  # noqa: E402
from greencv_core.metering import ComponentReading, EnergyMeter, MeterError  # noqa: E402
from greencv_core.run.experiment import synchronizer  # noqa: E402
from greencv_core.study.schema import Dataset, EnvironmentSpec, Protocol  # noqa: E402
from greencv_core.utils.errors import BadInputError  # noqa: E402

SEED = 2022
ARCHITECTURES = {
    "cpu": ("resnet18", "mobilenet_v2", "vgg11"),
    "cuda_bf16": ("resnet50", "resnet18", "mobilenet_v2"),
    "cuda_fp32": ("resnet50",),
}
"""By setting."""
PROMISED = ("cuda_bf16", "resnet50")
"""The setting and the architecture on a GPU for which the project states limits."""
ROUNDS, FEW_ROUNDS = {"cpu": 7, "cuda": 6}, 2
CLASSES = 10
VALIDATED = 10
"""Images that ours validates on after each epoch, which is not timed."""
WORKERS = 2
LEARNING_RATE, MOMENTUM = 1e-3, 0.9
EPOCH_S, SHORT_EPOCH_S = 2.0, 0.5
"""The short ones, like the few rounds, are of what is looked at in passing on a GPU."""
LEAD_S = 0.1
"""Of steps on a GPU before a timed epoch."""
LEAST_BATCHES, MOST_BATCHES = 4, 200
"""In an epoch, however long they take."""
MOST_BYTES = 4 * 2**30
"""Of an epoch's images as float32."""
FIRST, TRIED, TRIED_S = 2, 5, {"cpu": 3.0, "cuda": 0.5}
"""Steps that choose kernels, steps from which the length of an epoch is chosen, and seconds that
those take, at least."""
OURS, METERED, PLAIN, LIMIT = "ours", "metered", "plain", "limit"
RECIPE, STREAMED = "recipe", "streamed"
FROM_FILES = (RECIPE, STREAMED)
CONTENDERS = (OURS, METERED, PLAIN, *FROM_FILES, LIMIT)
TIMED = "timed"
"""The name of the phase that is timed."""
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
    architectures: tuple[str, ...]
    contenders: tuple[str, ...]
    rounds: int | None = None
    batches: int | None = None
    """In an epoch; as many as take about ``EPOCH_S`` where None."""

    @property
    def device(self):
        return torch.device(self.spec.device)

    @property
    def layout(self):
        return training.memory_format(self.spec)

    @property
    def epochs(self):
        """Of each training; the last is timed."""
        return 2 if self.device.type == "cpu" else 1

    def in_passing(self, architecture):
        return self.device.type == "cuda" and (self.name, architecture) != PROMISED


@dataclass
class Measured:
    images: int
    """Trained on in an epoch."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    gpu_energy: dict[str, list[ComponentReading]] = field(default_factory=lambda: defaultdict(list))
    """Of metered epochs, where a GPU is metered."""

    def images_per_s(self, contender):
        return [self.images / seconds for seconds in self.seconds[contender]]

    def images_per_j(self, contender):
        """Return images per joule of the GPU's; None where those are not metered."""
        readings = self.gpu_energy.get(contender, ())
        energy_j = sum(reading.energy_j for reading in readings)
        return len(readings) * self.images / energy_j if energy_j else None

    def ratios(self, contender, other):
        """Return the first's images per second in units of the second's, round by round.

        Empty where one of the two was left out.
        """
        if not {contender, other} <= self.seconds.keys():
            return []
        both = zip(self.seconds[contender], self.seconds[other], strict=True)
        return [theirs / its for its, theirs in both]


def main():
    asked = arguments()
    begun_s, load = time.perf_counter(), load_average()
    machine = hardware.describe_machine()
    tell_load("at the start", load, machine)
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        # What is decoded is remembered there, and goes with it.
        os.environ[download.VARIABLE] = str(Path(folder) / "downloads")
        for setting in settings(asked, machine):
            environment.apply(setting.spec)
            found = tables[setting.name] = {}
            for name in setting.architectures:
                with tempfile.TemporaryDirectory(dir=folder) as images:
                    found[name] = measure(setting, name, machine, Path(images))
            told("")
            show(setting, found, machine)
    tell_load("at the end", load_average(), machine)
    console.print(f"All of this: {(time.perf_counter() - begun_s) / 60:.1f} min.")
    console.print(json.dumps(summary(tables, load, machine)), soft_wrap=True, highlight=False)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    here = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    parser.add_argument("--devices", nargs="+", choices=("cpu", "cuda"), default=here[-1:])
    parser.add_argument("--architectures", nargs="+", metavar="NAME")
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, metavar="NAME",
        help=f"some of {', '.join(CONTENDERS)}; ours is always there",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, help="of all alike; see above where omitted")
    parser.add_argument(
        "--quick", action="store_true", help="a smoke run of seconds; its figures mean nothing"
    )
    asked = parser.parse_args()
    if asked.rounds is None and asked.quick:
        asked.rounds = 2
    if asked.rounds is not None and asked.rounds < 1:
        parser.error(f"--rounds = {asked.rounds}: must be at least 1")
    if lacking := set(asked.devices) - set(here):
        parser.error(f"--devices = {', '.join(lacking)}: torch finds none here")
    for name in asked.architectures or ():
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
        usual = [c for c in CONTENDERS if device == "cpu" or c not in FROM_FILES]
        return Setting(
            name, spec, side, batch,
            architectures=tuple(
                asked.architectures or ARCHITECTURES[name][: 1 if asked.quick else None]
            ),
            contenders=tuple(c for c in CONTENDERS if c in {OURS, *(asked.contenders or usual)}),
            rounds=asked.rounds,
            batches=2 if asked.quick else None,
        )  # fmt: skip

    if "cpu" in asked.devices:
        yield setting("cpu", "cpu", "fp32", 32, 64)
    if "cuda" in asked.devices:
        if torch.cuda.is_bf16_supported(including_emulation=False):
            yield setting("cuda_bf16", "cuda:0", "bf16", 128, 256)
        yield setting("cuda_fp32", "cuda:0", "fp32", 128, 256)


# What is measured.


def measure(setting, architecture, machine, folder):
    told(f"{setting.name}, {architecture}: getting ready")
    torch.manual_seed(SEED)
    initial = architectures.build(architecture, CLASSES, setting.side).module
    initial = initial.to(setting.device, memory_format=setting.layout)
    passing = setting.in_passing(architecture)
    epoch_s = SHORT_EPOCH_S if passing else EPOCH_S
    images = setting.batch * (setting.batches or batches_for(setting, initial, epoch_s))
    rounds = setting.rounds or (FEW_ROUNDS if passing else ROUNDS[setting.device.type])
    gpus = environment.gpu_uuids(setting.spec, machine)
    # As a run of a study is metered: see greencv_core.run.experiment.
    meter = EnergyMeter(gpus, synchronize=synchronizer(setting.device), compare=True)
    measured = Measured(images)
    drawn = random.Random(SEED)
    with ExitStack() as stack:
        contenders = ready(setting, images, folder, stack)
        lead = lead_in(initial, contenders[OURS].data, setting)

        for number in range(rounds + (2 if gpus else 1)):
            last = number > rounds
            what = "energy" if last else f"round {number} of {rounds}" if number else "warm-up"
            for name in drawn.sample(setting.contenders, len(setting.contenders)):
                if last and name == METERED:
                    continue  # its rounds told its energy
                told(f"{setting.name}, {architecture}, {what}: {name}")
                clock = Clock(setting.device, lead, meter if last or name == METERED else None)
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
    optimizer = sgd(model)
    images = torch.rand(setting.batch, 3, setting.side, setting.side, device=setting.device)
    images = images.contiguous(memory_format=setting.layout)
    labels = torch.arange(setting.batch, device=setting.device) % CLASSES
    seconds = []
    model.train()
    while len(seconds) < FIRST + TRIED or sum(seconds[FIRST:]) < TRIED_S[setting.device.type]:
        begun_s = time.perf_counter()
        one_step(model, optimizer, images, labels, setting)
        finish(setting.device)
        seconds.append(time.perf_counter() - begun_s)
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
    optimizer = sgd(model)
    batch = data.sample(setting.batch)

    def lead():
        begun_s = time.perf_counter()
        while time.perf_counter() - begun_s < LEAD_S:
            one_step(model, optimizer, *batch, setting)
            finish(setting.device)

    return lead


def ready(setting, images, folder, stack):
    """Return the contenders: each trains a model, its last epoch within a clock."""
    spec = Dataset(
        name="synthetic", image_size=setting.side, train_images=images,
        validation_images=VALIDATED, split_seed=SEED,
    )  # fmt: skip
    resident = loaded(spec, setting, stack)
    assert resident.resident
    contenders = {
        OURS: ByGreencv(resident, setting),
        METERED: ByGreencv(resident, setting),
        LIMIT: ByOneBatch(resident.sample(setting.batch), setting, images),
    }
    if PLAIN in setting.contenders:
        in_memory = TensorDataset(*resident.sample(images))
        contenders[PLAIN] = ByScript(lambda: shuffled(in_memory, setting), setting, images)
    if set(FROM_FILES) & set(setting.contenders):
        write_files(spec, folder)
        files = spec.model_copy(update={"name": f"{registry.FOLDER}{folder}"})
        with mock.patch.object(registry, "SHARE_OF_MEMORY", 0.0):
            streamed = loaded(files, setting, stack)
        assert not streamed.resident
        contenders[STREAMED] = ByGreencv(streamed, setting)
        contenders[RECIPE] = ByScript(recipe(folder, images, setting), setting, images)
    return contenders


def loaded(spec, setting, stack):
    data = load_dataset(spec, workers=WORKERS).to(setting.device, setting.layout)
    stack.callback(data.close)
    return data


def write_files(spec, folder):
    pool = registry.open_pool(spec, download=False)
    for name in pool.class_names:
        (folder / name).mkdir()

    def write(number):
        path = folder / pool.class_names[pool.labels[number]] / f"{number:06d}.png"
        Image.fromarray(pool.images[number].transpose(1, 2, 0)).save(path, compress_level=1)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, range(len(pool.labels))))


# The contenders.


@dataclass(frozen=True)
class ByGreencv:
    data: ImageData
    setting: Setting

    def __call__(self, model, clock):
        setting = self.setting
        protocol = Protocol(
            epochs=setting.epochs, optimizer="sgd", learning_rate=LEARNING_RATE, momentum=MOMENTUM,
            nesterov=False, batch_size=setting.batch, repetitions=1,
        )  # fmt: skip

        def hook(phase, epoch):
            timed = phase == "training" and epoch == setting.epochs
            return clock if timed else clock.phase(phase, epoch)

        training.train(model, self.data, protocol, setting.spec, seed=SEED, hook=hook)


@dataclass(frozen=True)
class ByScript:
    batches: Callable
    setting: Setting
    images: int

    def __call__(self, model, clock):
        setting = self.setting
        optimizer = sgd(model)
        for epoch in range(1, setting.epochs + 1):
            seen = 0
            with clock if epoch == setting.epochs else nullcontext():
                model.train()
                total = torch.zeros((), device=setting.device)
                for images, labels in self.batches():
                    total += one_step(model, optimizer, images, labels, setting).detach()
                    seen += len(labels)
                float(total)
            assert seen == self.images


@dataclass(frozen=True)
class ByOneBatch:
    batch: tuple
    setting: Setting
    images: int

    def __call__(self, model, clock):
        setting = self.setting
        optimizer = sgd(model)
        model.train()
        for epoch in range(1, setting.epochs + 1):
            with clock if epoch == setting.epochs else nullcontext():
                for _ in range(self.images // setting.batch):
                    one_step(model, optimizer, *self.batch, setting)


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


class Clock:
    """Times one epoch, and opens the meter's windows and phases where there is a meter."""

    def __init__(self, device, lead=None, meter=None):
        self._device, self._lead, self._meter = device, lead, meter
        self._window = None
        self.seconds = None

    @contextmanager
    def window(self):
        """Meter all of a training; what the meter still reads afterwards is waited for."""
        if self._meter is None:
            yield
            return
        with self._meter as self._window:
            yield
        assert self._window.reading is not None

    def phase(self, *name):
        return self._window.phase(" ".join(map(str, name))) if self._window else nullcontext()

    def __enter__(self):
        gc.collect()
        if self._lead:
            self._lead()
        finish(self._device)
        self._begun_s = time.perf_counter()
        self._phase = self.phase(TIMED)
        self._phase.__enter__()
        return self

    def __exit__(self, *exception):
        finish(self._device)
        self._phase.__exit__(*exception)
        self.seconds = time.perf_counter() - self._begun_s

    def gpu_energy(self):
        """Return the timed epoch's reading of the GPU; None where that was not metered."""
        if self._window is None:
            return None
        [timed] = [phase for phase in self._window.phases if phase.name == TIMED]
        return timed.reading.gpu


def finish(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# What is told.


def show(setting, found, machine):
    spec = setting.spec
    device = hardware.product_name(environment.device_name(spec, machine))
    table = Table(
        title=f"{setting.name}: {device}, {spec.threads} CPU threads, {spec.precision}, "
        f"{setting.side} px, batches of {setting.batch}",
        title_justify="left",
    )
    for heading in ("Architecture", "Contender"):
        table.add_column(heading)
    metered = any(m.gpu_energy for m in found.values())
    energy = ["Images/J (GPU)"] if metered else []
    for heading in ("Images/s", "min to max", "Ours / this one", "min to max", *energy):
        table.add_column(heading, justify="right")
    for name, measured in found.items():
        for contender in setting.contenders:
            speeds = measured.images_per_s(contender)
            ratios = measured.ratios(OURS, contender)
            figures = (f"{np.median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}")
            table.add_row(
                f"{name}, {measured.images} images" if contender == OURS else "", contender,
                f"{np.median(speeds):,.0f}", f"{min(speeds):,.0f} to {max(speeds):,.0f}",
                *(figures if contender != OURS else ("", "")),
                *([per_joule(measured, contender)] if metered else []),
                end_section=contender == setting.contenders[-1],
            )  # fmt: skip
    console.print(table)
    for name, measured in found.items():
        if ratios := measured.ratios(METERED, OURS):
            console.print(f"{name}, metered / ours: {with_interval(ratios)}.")
        if ratios := measured.ratios(STREAMED, RECIPE):
            console.print(f"{name}, streamed / recipe, both from files: {median(ratios):.3f}.")
    console.print()


def per_joule(measured, contender):
    """Return images per joule, with the meter's word for how it came to know the energy."""
    images_per_j = measured.images_per_j(contender)
    if images_per_j is None:
        return "-"
    return f"{images_per_j:.2f}, {measured.gpu_energy[contender][0].provenance}"


def with_interval(ratios):
    ends = interval(ratios)
    told = f"{ends[0]:.4f} to {ends[1]:.4f}" if ends else "too few for an interval"
    return f"{np.median(ratios):.4f} ({told}), {len(ratios)} rounds"


def summary(tables, load, machine):
    def of_all(figure):
        return {
            setting: {name: figure(measured) for name, measured in found.items()}
            for setting, found in tables.items()
        }

    def ratio(contender, other):
        return of_all(lambda m: median(m.ratios(contender, other)))

    def spans(contender, other):
        return of_all(lambda m: span(m.ratios(contender, other)))

    return {
        "vs_plain": ratio(OURS, PLAIN),
        "vs_limit": ratio(OURS, LIMIT),
        "vs_recipe": ratio(OURS, RECIPE),
        "metered_vs_ours": ratio(METERED, OURS),
        "metered_vs_ours_interval": of_all(lambda m: interval(m.ratios(METERED, OURS))),
        "vs_plain_range": spans(OURS, PLAIN),
        "vs_limit_range": spans(OURS, LIMIT),
        "vs_recipe_range": spans(OURS, RECIPE),
        "streamed_vs_recipe": ratio(STREAMED, RECIPE),
        "images_per_s": of_all(lambda m: {c: median(m.images_per_s(c)) for c in m.seconds}),
        "images_per_j": of_all(lambda m: {c: m.images_per_j(c) for c in m.gpu_energy}),
        "rounds": of_all(lambda m: len(m.seconds[OURS])),
        "images": of_all(lambda m: m.images),
        "devices": [a.name for a in machine.accelerators],
        "torch": torch.__version__,
        "threads": machine.cpu_count,
        "load_average_before": load,
    }


def median(values):
    return round(float(np.median(values)), 4) if values else None


def span(values):
    return [round(min(values), 4), round(max(values), 4)] if values else None


def interval(values):
    """Return the 95 % interval of the median by order statistics; None of too few values."""
    if not values:
        return None
    found = quantile_test(values).confidence_interval(0.95)
    return None if np.isnan(found).any() else [round(float(end), 4) for end in found]


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
    try:
        main()
    except MeterError as error:
        sys.exit(f"error: {error}")
