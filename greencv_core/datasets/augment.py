"""Random changes to training images: every image by its own draw, a batch at once.

What an epoch draws comes from a generator on the CPU before its first batch, so that the images are
the same on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torchvision.transforms.v2 import functional

from greencv_core.study.schema import Augmentation, Dataset
from greencv_core.utils.errors import BadInputError

HUE_STEPS = 9
"""Turns of the hue to draw from: torchvision turns a whole batch alike."""


@dataclass(frozen=True)
class Draws:
    """What is done to each image, one value an image; None where a change is not asked for."""

    corners: torch.Tensor | None = None
    """(n, 2) int64: top and left of the crop in the padded image."""
    flips: torch.Tensor | None = None
    """(n,) bool"""
    shifts: torch.Tensor | None = None
    """(n,) float32, added to all pixels."""
    contrasts: torch.Tensor | None = None
    """(n,) float32, factors."""
    saturations: torch.Tensor | None = None
    """(n,) float32, factors."""
    turns: torch.Tensor | None = None
    """(n,) int64, from 0 to ``HUE_STEPS - 1``; always on the CPU, where it is decided which turns
    are computed."""

    def to(self, device: torch.device) -> Draws:
        """Return the draws on a device, all but the turns."""
        return Draws(
            **{
                name: value if name == "turns" else value.to(device)
                for name, value in self._given().items()
            }
        )

    def part(self, start: int, size: int) -> Draws:
        """Return the draws of ``size`` images from ``start`` on."""
        return Draws(**{n: value[start : start + size] for n, value in self._given().items()})

    def _given(self) -> dict[str, torch.Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def check_padding(spec: Dataset) -> None:
    """Raise :class:`BadInputError` if the images are too small for the padding asked for."""
    padding, largest = spec.augmentation.crop_padding, spec.image_size - 1
    if padding > largest:
        raise BadInputError(
            f"dataset.augmentation.crop_padding = {padding}: must be at most {largest}, as images "
            f"of {spec.image_size} pixels have no more to reflect"
        )


def is_enabled(spec: Augmentation) -> bool:
    """Return whether the study asks for any change."""
    return spec != Augmentation()


def draw(spec: Augmentation, images: int, generator: torch.Generator) -> Draws:
    """Draw what is done to each of an epoch's images, from a generator on the CPU."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(images, generator=generator)

    drawn: dict[str, torch.Tensor] = {}
    if spec.crop_padding:
        places = 2 * spec.crop_padding + 1
        drawn["corners"] = torch.randint(places, (images, 2), generator=generator)
    if spec.horizontal_flip:
        drawn["flips"] = torch.rand(images, generator=generator) < 0.5
    if spec.brightness:
        drawn["shifts"] = uniform(-spec.brightness, spec.brightness)
    if spec.contrast is not None:
        drawn["contrasts"] = uniform(*spec.contrast)
    if spec.saturation is not None:
        drawn["saturations"] = uniform(*spec.saturation)
    if spec.hue:
        drawn["turns"] = torch.randint(HUE_STEPS, (images,), generator=generator)
    return Draws(**drawn)


def augment(images: torch.Tensor, draws: Draws, spec: Augmentation) -> torch.Tensor:
    """Return the changed images, (n, 3, side, side) float32 between 0 and 1."""
    if draws.corners is not None:
        images = _crop(images, draws.corners, spec.crop_padding)
    if draws.flips is not None:
        # Not the chosen alone: to count them would make a GPU wait.
        flipped = functional.horizontal_flip(images)
        images = torch.where(_by_image(draws.flips), flipped, images)
    if draws.shifts is not None:
        images = (images + _by_image(draws.shifts)).clamp(0, 1)
    if draws.contrasts is not None:
        grey = functional.rgb_to_grayscale(images).mean(dim=(-3, -2, -1), keepdim=True)
        images = _blend(images, grey, draws.contrasts)
    if draws.saturations is not None:
        images = _blend(images, functional.rgb_to_grayscale(images), draws.saturations)
    if draws.turns is not None:
        images = _turn_hue(images, draws.turns, spec.hue)
    return images


def hue_shift(turn: int, largest: float) -> float:
    """Return a turn of the hue as a share of the full circle."""
    middle = HUE_STEPS // 2
    return largest * (turn - middle) / middle


def _by_image(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


def _blend(images: torch.Tensor, towards: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Do as torchvision does with one factor for all."""
    factor = _by_image(factors)
    return (images * factor + towards * (1 - factor)).clamp(0, 1)


def _crop(images: torch.Tensor, corners: torch.Tensor, padding: int) -> torch.Tensor:
    height, width = images.shape[-2:]
    padded = functional.pad(images, [padding], padding_mode="reflect")
    along = torch.arange(max(height, width), device=images.device)
    rows = corners[:, 0, None] + along[:height]
    columns = corners[:, 1, None] + along[:width]
    image = torch.arange(len(images), device=images.device)[:, None, None]
    cropped: torch.Tensor = padded[image, :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


def _turn_hue(images: torch.Tensor, turns: torch.Tensor, largest: float) -> torch.Tensor:
    turned = images.clone()
    for turn in turns.unique().tolist():
        share = hue_shift(turn, largest)
        if not math.isclose(share, 0.0):
            chosen = (turns == turn).nonzero().flatten().to(images.device)
            turned[chosen] = functional.adjust_hue(images[chosen], share)
    return turned
