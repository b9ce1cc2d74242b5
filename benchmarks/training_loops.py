"""Training loops that are compared: greencv's, plain scripts and one batch again and again."""

import gc
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from unittest import mock

import torch
from PIL import Image
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from greencv_core import training
from greencv_core.architectures import build as architectures
from greencv_core.datasets import ImageData, load_dataset, registry
from greencv_core.study.schema import Dataset, EnvironmentSpec, Protocol

SEED = 2022
PROMISED = ("cuda_bf16", "resnet50")
"""The setting and the architecture on a GPU for which the project states limits."""
CLASSES = 10
VALIDATED = 10  # images that ours validates on after each epoch, which is not timed
WORKERS = 2
LEARNING_RATE, MOMENTUM = 1e-3, 0.9
OURS, METERED, PLAIN, LIMIT = "ours", "metered", "plain", "limit"
RECIPE, TIMM, STREAMED = "recipe", "timm", "streamed"
FROM_FILES = (RECIPE, TIMM, STREAMED)
CONTENDERS = (OURS, METERED, PLAIN, *FROM_FILES, LIMIT)
TIMED = "timed"  # the name of the phase that is timed


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
        with mock.patch.object(registry, "available_memory_bytes", return_value=0.0):
            streamed = loaded(files, setting, stack)
        assert not streamed.resident
        contenders[STREAMED] = ByGreencv(streamed, setting)
        contenders[RECIPE] = ByScript(recipe(folder, images, setting), setting, images)
        if TIMM in setting.contenders:  # it may not be installed
            timms = timms_loader(folder, setting)
            contenders[TIMM] = ByScript(lambda: timms, setting, images)
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


def timms_loader(folder, setting):
    """Return the loader of timm's training script, less its augmentation."""
    import timm.data

    return timm.data.create_loader(
        timm.data.create_dataset("", root=str(folder)),
        input_size=(3, setting.side, setting.side), batch_size=setting.batch, is_training=True,
        no_aug=True, num_workers=WORKERS, device=setting.device,
        pin_memory=setting.device.type == "cuda",
    )  # fmt: skip


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
        self._started_s = time.perf_counter()
        self._phase = self.phase(TIMED)
        self._phase.__enter__()
        return self

    def __exit__(self, *exception):
        finish(self._device)
        self._phase.__exit__(*exception)
        self.seconds = time.perf_counter() - self._started_s

    def gpu_energy(self):
        """Return the timed epoch's reading of the GPU; None where that was not metered."""
        if self._window is None:
            return None
        [timed] = [phase for phase in self._window.phases if phase.name == TIMED]
        return timed.reading.gpu


def finish(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
