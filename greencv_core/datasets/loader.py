"""A study's images, ready to train on: in memory where they fit, else read from files as needed."""

from __future__ import annotations

import copy
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from torchvision.transforms.v2 import InterpolationMode, functional

from greencv_core.datasets import augment
from greencv_core.datasets.decode import decode
from greencv_core.study.schema import Augmentation

LARGEST_PREPARED = 512 * 2**20
"""Bytes up to which images that nothing changes are kept as a model takes them."""
PREFETCH = 2
"""Batches that each process loads ahead."""
CHUNK = 256
"""Images that are prepared at once where all are prepared beforehand."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images, (n, 3, side, side) float32, normalised; and labels, (n,) int64."""


class ImageData(Protocol):
    """Training and validation images of a study, split once."""

    @property
    def classes(self) -> int:
        """How many classes there are."""

    @property
    def sha256(self) -> str:
        """Of the images, their labels and the split: what exactly is trained on."""

    @property
    def train_count(self) -> int:
        """How many images there are to train on."""

    @property
    def validation_count(self) -> int:
        """How many images there are to validate on."""

    @property
    def resident(self) -> bool:
        """Whether the images are kept in memory."""

    def to(self, device: torch.device, memory_format: torch.memory_format) -> ImageData:
        """Return the images on a device, in a memory format."""

    def train_batches(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield an epoch's batches: all training images in random order, changed by the study.

        Order and changes are drawn from ``generator``, on the CPU, and the same on every device.
        What does not fill a last batch is left out, as batch normalisation fails on a batch of
        one.
        """

    def validation_batches(self, size: int) -> Iterator[Batch]:
        """Yield all validation images, in order and unchanged."""

    def sample(self, size: int) -> Batch:
        """Return the first training images, unchanged; no generator is touched."""

    def close(self) -> None:
        """End the processes that load images; the images can still be used."""


@dataclass(frozen=True)
class Preparation:
    """How stored pixels become what a model takes."""

    side: int
    mean: torch.Tensor
    """(1, channels, 1, 1) float32, of pixels from 0 to 1."""
    deviation: torch.Tensor
    changes: Augmentation
    """Of training images."""

    def to(self, device: torch.device) -> Preparation:
        """Return the preparation for images on a device."""
        return replace(self, mean=self.mean.to(device), deviation=self.deviation.to(device))

    def __call__(self, pixels: torch.Tensor, draws: augment.Draws | None = None) -> torch.Tensor:
        """Return (n, channels, height, width) pixels resized, changed and normalised.

        Floating-point pixels lie between 0 and 1 and have their size already. Grey ones are
        repeated over three channels.
        """
        own = not pixels.is_floating_point()  # a copy, which may be changed in place
        images = self._resized(pixels.float().div_(255)) if own else pixels
        if draws is not None:
            images = augment.augment(images.expand(-1, 3, -1, -1), draws, self.changes)
        elif own and self.mean.shape[1] in (1, images.shape[1]):
            return images.sub_(self.mean).div_(self.deviation).expand(-1, 3, -1, -1)
        return ((images - self.mean) / self.deviation).expand(-1, 3, -1, -1)

    def _resized(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[-1] == self.side:
            return images
        resized: torch.Tensor = functional.resize(
            images, [self.side, self.side], InterpolationMode.BILINEAR, antialias=True
        )
        return resized


class _Images(ABC):
    """What both holders do alike; how stored pixels come to the device they do by themselves."""

    resident: bool

    def __init__(
        self,
        labels: Sequence[torch.Tensor],
        preparation: Preparation,
        *,
        classes: int,
        sha256: str,
    ) -> None:
        self._train_labels, self._validation_labels = labels
        self._preparation = preparation
        self._memory_format = torch.contiguous_format
        self.classes = classes
        self.sha256 = sha256
        self.train_count = len(self._train_labels)
        self.validation_count = len(self._validation_labels)

    @property
    def _device(self) -> torch.device:
        return self._train_labels.device

    def to(self, device: torch.device, memory_format: torch.memory_format) -> Self:
        moved = copy.copy(self)
        moved._train_labels = self._train_labels.to(device)
        moved._validation_labels = self._validation_labels.to(device)
        moved._preparation = self._preparation.to(device)
        moved._memory_format = memory_format
        return moved

    def train_batches(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        order = torch.randperm(self.train_count, generator=generator)
        order = order[: self.train_count // size * size]
        draws = None
        asked = self._preparation.changes
        if augment.is_enabled(asked):
            draws = augment.draw(asked, len(order), generator).to(self._device)
        labels = self._train_labels[order.to(self._device)]
        start = 0
        for pixels in self._train_pixels(order, size):
            drawn = draws.part(start, size) if draws is not None else None
            yield self._prepared(pixels, drawn), labels[start : start + size]
            start += size

    def validation_batches(self, size: int) -> Iterator[Batch]:
        labels = self._validation_labels.split(size)
        for pixels, those in zip(self._validation_pixels(size), labels, strict=True):
            yield self._prepared(pixels, None), those

    def sample(self, size: int) -> Batch:
        first = torch.arange(min(size, self.train_count))
        (pixels,) = self._train_pixels(first, size)
        return self._prepared(pixels, None), self._train_labels[: len(first)]

    @abstractmethod
    def _train_pixels(self, order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        """Yield training images as they are stored, on the device, by their numbers."""

    @abstractmethod
    def _validation_pixels(self, size: int) -> Iterator[torch.Tensor]:
        """Yield all validation images as they are stored, on the device."""

    def _prepared(self, pixels: torch.Tensor, draws: augment.Draws | None) -> torch.Tensor:
        return self._preparation(pixels, draws).contiguous(memory_format=self._memory_format)


class ResidentImages(_Images):
    """Images in memory: of the device where they fit there, else of the machine.

    A small set that nothing changes is kept as a model takes it, so that a batch is no more than a
    choice of images. Any other is kept as it came, a byte a value, and prepared batch by batch.
    """

    resident = True

    def __init__(
        self,
        train: torch.Tensor,
        validation: torch.Tensor,
        labels: Sequence[torch.Tensor],
        preparation: Preparation,
        *,
        classes: int,
        sha256: str,
    ) -> None:
        super().__init__(labels, preparation, classes=classes, sha256=sha256)
        images = len(train) + len(validation)
        floats = images * 3 * preparation.side**2 * torch.float32.itemsize
        self._ready = not augment.is_enabled(preparation.changes) and floats <= LARGEST_PREPARED
        self._train, self._validation = train, validation
        if self._ready:
            self._train, self._validation = (
                torch.cat([preparation(some) for some in stored.split(CHUNK)])
                for stored in (train, validation)
            )

    def to(self, device: torch.device, memory_format: torch.memory_format) -> Self:
        """Return the images on a device; large ones stay where they are if it has no room."""
        moved = super().to(device, memory_format)
        stored = [self._train, self._validation]
        if self._ready:
            stored = [
                images.to(device).contiguous(memory_format=memory_format) for images in stored
            ]
        elif _room_for(stored, device):
            stored = [images.to(device) for images in stored]
        moved._train, moved._validation = stored
        return moved

    def close(self) -> None:
        """There are no processes to end."""

    def _train_pixels(self, order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        for chosen in order.to(self._train.device).split(size):
            yield self._train[chosen].to(self._device)

    def _validation_pixels(self, size: int) -> Iterator[torch.Tensor]:
        for pixels in self._validation.split(size):
            yield pixels.to(self._device)

    def _prepared(self, pixels: torch.Tensor, draws: augment.Draws | None) -> torch.Tensor:
        return pixels if self._ready else super()._prepared(pixels, draws)


class StreamedImages(_Images):
    """Images in files, decoded as they are needed, by processes that work ahead."""

    resident = False

    def __init__(
        self,
        train: Sequence[Path],
        validation: Sequence[Path],
        side: int,
        labels: Sequence[torch.Tensor],
        preparation: Preparation,
        *,
        workers: int,
        classes: int,
        sha256: str,
    ) -> None:
        super().__init__(labels, preparation, classes=classes, sha256=sha256)
        self._files = _Files([*train, *validation], side)
        self._workers = workers
        self._order = _Order()
        self._loader: DataLoader[torch.Tensor] | None = None

    def to(self, device: torch.device, memory_format: torch.memory_format) -> Self:
        """Return images that come to a device, by processes of their own."""
        moved = super().to(device, memory_format)
        moved._order, moved._loader = _Order(), None
        return moved

    def close(self) -> None:
        """End the processes that load images; they start again when images are asked for."""
        # Not by dropping it: whoever still holds a half-read pass would keep them alive.
        running = self._loader._iterator if self._loader is not None else None
        if isinstance(running, _MultiProcessingDataLoaderIter):
            running._shutdown_workers()
        self._loader = None

    def _train_pixels(self, order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        return self._load(order, size)

    def _validation_pixels(self, size: int) -> Iterator[torch.Tensor]:
        return self._load(self.train_count + torch.arange(self.validation_count), size)

    def _load(self, numbers: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        self._order.batches = [some.tolist() for some in numbers.split(size)]
        if self._loader is None:
            self._loader = self._start()
        for pixels in self._loader:
            yield pixels.to(self._device, non_blocking=True)

    def _start(self) -> DataLoader[torch.Tensor]:
        return DataLoader(
            self._files,
            batch_sampler=self._order,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            prefetch_factor=PREFETCH if self._workers else None,
            pin_memory=self._device.type == "cuda",
            worker_init_fn=_leave_messages_to_the_parent,
            # It would else draw from the global generator, which decides the training.
            generator=torch.Generator(),
        )


class _Files(TorchDataset[torch.Tensor]):
    def __init__(self, files: Sequence[Path], side: int) -> None:
        self._files, self._side = list(map(str, files)), side

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.from_numpy(decode(Path(self._files[number]), self._side))


class _Order(Sampler[list[int]]):
    """The batches of the pass to come: one pool of processes serves all passes."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _leave_messages_to_the_parent(_: int) -> None:
    """Let Ctrl-C, which reaches every process, be told by one, which ends the others.

    What goes wrong while an image is decoded comes to the parent; what a process could say itself
    is that the parent hung up.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = lambda *_: None


def _room_for(stored: Sequence[torch.Tensor], device: torch.device) -> bool:
    """Return whether images leave half of a GPU's free memory to the training."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(images.numel() * images.element_size() for images in stored) <= free / 2
