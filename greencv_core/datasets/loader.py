"""Batches of a study's images, from memory or, where they do not fit, from files."""

from __future__ import annotations

import copy
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from torchvision.transforms.v2 import InterpolationMode, functional

from greencv_core.datasets import augment
from greencv_core.datasets.decode import decode
from greencv_core.study.schema import Augmentation

LARGEST_PREPARED = 512 * 2**20
"""Bytes up to which images without augmentation are normalised in advance."""
PREFETCH = 2
"""Batches that each process loads in advance."""
CHUNK = 256
"""Images in one step of preparing all images in advance."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""Images, (n, 3, side, side) float32, normalised; and labels, (n,) int64."""


@dataclass(frozen=True)
class Preparation:
    """Conversion of stored pixels to the input of a model."""

    side: int
    mean: torch.Tensor
    """(1, channels, 1, 1) float32, of pixels from 0 to 1."""
    deviation: torch.Tensor
    augmentation: Augmentation
    """For training images."""

    def to(self, device: torch.device) -> Preparation:
        """Return the same for images on a device."""
        return replace(self, mean=self.mean.to(device), deviation=self.deviation.to(device))

    def __call__(self, pixels: torch.Tensor, draws: augment.Draws | None = None) -> torch.Tensor:
        """Return (n, channels, height, width) pixels resized, augmented and normalised.

        Floating-point pixels are between 0 and 1 and not resized. Grey images are repeated over
        three channels.
        """
        is_copy = not pixels.is_floating_point()  # then it is changed in place
        images = pixels.float().div_(255) if is_copy else pixels
        if is_copy and images.shape[-1] != self.side:
            size = [self.side, self.side]
            images = functional.resize(images, size, InterpolationMode.BILINEAR, antialias=True)
        if draws is not None:
            images = augment.augment(images.expand(-1, 3, -1, -1), draws, self.augmentation)
        elif is_copy and self.mean.shape[1] in (1, images.shape[1]):
            return images.sub_(self.mean).div_(self.deviation).expand(-1, 3, -1, -1)
        return ((images - self.mean) / self.deviation).expand(-1, 3, -1, -1)


class ImageData(ABC):
    """Training and validation images of a study, split once.

    Subclasses bring stored pixels to the device.
    """

    resident: bool
    """Whether the images are kept in memory."""

    def __init__(
        self, labels: Sequence[torch.Tensor], preparation: Preparation, *, classes: int, sha256: str
    ) -> None:
        self._train_labels, self._validation_labels = labels
        self._preparation = preparation
        self._memory_format = torch.contiguous_format
        self.classes = classes
        self.sha256 = sha256
        """Hash of the images, their labels and the split."""
        self.train_count = len(self._train_labels)
        self.validation_count = len(self._validation_labels)

    @property
    def validation_labels(self) -> torch.Tensor:
        """True class of each validation image, in order, on the device."""
        return self._validation_labels

    @property
    def _device(self) -> torch.device:
        return self._train_labels.device

    def to(self, device: torch.device, memory_format: torch.memory_format) -> Self:
        """Return the images on a device, in a memory format."""
        moved = copy.copy(self)
        moved._train_labels = self._train_labels.to(device)
        moved._validation_labels = self._validation_labels.to(device)
        moved._preparation = self._preparation.to(device)
        moved._memory_format = memory_format
        return moved

    def train_batches(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield an epoch's batches: all training images in random order, augmented.

        Order and augmentation are drawn from ``generator``, on the CPU, and are the same on every
        device. An incomplete last batch is dropped: batch normalisation fails on a batch of one.
        """
        order = torch.randperm(self.train_count, generator=generator)
        order = order[: self.train_count // size * size]
        draws = None
        augmentation = self._preparation.augmentation
        if augmentation != Augmentation():
            draws = augment.draw(augmentation, len(order), generator).to(self._device)
        labels = self._train_labels[order.to(self._device)]
        start = 0
        for pixels in self._train_pixels(order, size):
            batch_draws = draws.slice(start, size) if draws is not None else None
            yield self._prepare(pixels, batch_draws), labels[start : start + size]
            start += size

    def validation_batches(self, size: int) -> Iterator[Batch]:
        """Yield all validation images, in order and without augmentation."""
        labels = self._validation_labels.split(size)
        for pixels, batch_labels in zip(self._validation_pixels(size), labels, strict=True):
            yield self._prepare(pixels, None), batch_labels

    def sample(self, size: int) -> Batch:
        """Return the first training images without augmentation; uses no generator."""
        first = torch.arange(min(size, self.train_count))
        (pixels,) = self._train_pixels(first, size)
        return self._prepare(pixels, None), self._train_labels[: len(first)]

    def close(self) -> None:  # noqa: B027 (images in memory have no processes)
        """Stop the processes that load images; the images can still be used."""

    @abstractmethod
    def _train_pixels(self, order: torch.Tensor, size: int) -> Iterator[torch.Tensor]: ...

    @abstractmethod
    def _validation_pixels(self, size: int) -> Iterator[torch.Tensor]: ...

    def _prepare(self, pixels: torch.Tensor, draws: augment.Draws | None) -> torch.Tensor:
        return self._preparation(pixels, draws).contiguous(memory_format=self._memory_format)


class ResidentImages(ImageData):
    """Images in the device's memory if they fit, else in the machine's.

    A small data set without augmentation is normalised in advance, so that a batch only selects
    images. Others are stored as bytes and prepared batch by batch.
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
        self._ready = preparation.augmentation == Augmentation() and floats <= LARGEST_PREPARED
        self._train, self._validation = train, validation
        if self._ready:
            self._train, self._validation = (
                torch.cat([preparation(chunk) for chunk in stored.split(CHUNK)])
                for stored in (train, validation)
            )

    def to(self, device: torch.device, memory_format: torch.memory_format) -> Self:
        """Return the images on a device; data sets that do not fit there stay in memory."""
        moved = super().to(device, memory_format)
        stored = [self._train, self._validation]
        if self._ready or _fits(stored, device):
            stored = [images.to(device) for images in stored]
        if self._ready:
            stored = [images.contiguous(memory_format=memory_format) for images in stored]
        moved._train, moved._validation = stored
        return moved

    def _train_pixels(self, order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        for chosen in order.to(self._train.device).split(size):
            yield self._train[chosen].to(self._device)

    def _validation_pixels(self, size: int) -> Iterator[torch.Tensor]:
        for pixels in self._validation.split(size):
            yield pixels.to(self._device)

    def _prepare(self, pixels: torch.Tensor, draws: augment.Draws | None) -> torch.Tensor:
        return pixels if self._ready else super()._prepare(pixels, draws)


class StreamedImages(ImageData):
    """Images in files, decoded in advance of each batch by worker processes."""

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
        """Return the images for a device, with new worker processes."""
        moved = super().to(device, memory_format)
        moved._order, moved._loader = _Order(), None
        return moved

    def close(self) -> None:
        """Stop the worker processes; the next batch starts them again."""
        # Deleting the loader is not enough: an unfinished iterator would keep them alive.
        running = self._loader._iterator if self._loader is not None else None
        if isinstance(running, _MultiProcessingDataLoaderIter):
            running._shutdown_workers()
        self._loader = None

    def _train_pixels(self, order: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        return self._load(order, size)

    def _validation_pixels(self, size: int) -> Iterator[torch.Tensor]:
        return self._load(self.train_count + torch.arange(self.validation_count), size)

    def _load(self, numbers: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        self._order.batches = [batch.tolist() for batch in numbers.split(size)]
        if self._loader is None:
            self._loader = DataLoader(
                self._files,
                batch_sampler=self._order,
                num_workers=self._workers,
                persistent_workers=self._workers > 0,
                prefetch_factor=PREFETCH if self._workers else None,
                pin_memory=self._device.type == "cuda",
                worker_init_fn=_silence_worker,
                # By default it draws from the global generator, which would change the training.
                generator=torch.Generator(),
            )
        for pixels in self._loader:
            # Only pinned memory outlives the copy; without, an Apple GPU reads what was freed:
            # https://github.com/pytorch/pytorch/issues/189690
            yield pixels.to(self._device, non_blocking=self._device.type == "cuda")


class _Files(TorchDataset[torch.Tensor]):
    def __init__(self, files: Sequence[Path], side: int) -> None:
        self._files, self._side = list(map(str, files)), side

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.from_numpy(decode(Path(self._files[number]), self._side))


class _Order(Sampler[list[int]]):
    """Indices of the next epoch's batches: the same processes serve all epochs."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _silence_worker(_: int) -> None:
    """Ignore Ctrl-C and print no traceback: the parent reports errors and stops workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = lambda *_: None


def _fits(stored: Sequence[torch.Tensor], device: torch.device) -> bool:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    elif device.type == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    else:
        return True
    return sum(images.numel() * images.element_size() for images in stored) <= free / 2
