"""Random augmentation of training images: one draw per image, applied to a whole batch.

All draws of an epoch come from a generator on the CPU before its first batch, so that the images
are the same on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torchvision.transforms.v2 import functional

from greencv_core.study.schema import Augmentation, Dataset
from greencv_core.utils.errors import BadInputError

HUE_STEPS = 9
"""Number of hue shifts to draw from: torchvision shifts a whole batch by one value."""


@dataclass(frozen=True)
class Draws:
    """Random parameters, one value per image; None where an augmentation is off."""

    corners: torch.Tensor | None = None
    """(n, 2) int64: top and left of the crop in the padded image."""
    flips: torch.Tensor | None = None
    """(n,) bool"""
    shifts: torch.Tensor | None = None
    """(n,) float32 brightness, added to all pixels."""
    contrasts: torch.Tensor | None = None
    """(n,) float32, factors."""
    saturations: torch.Tensor | None = None
    """(n,) float32, factors."""
    hue_steps: torch.Tensor | None = None
    """(n,) int64, from 0 to ``HUE_STEPS - 1``; always on the CPU, which selects the images of each
    step."""

    def to(self, device: torch.device) -> Draws:
        """Return the draws on a device, except the hue steps."""
        moved = {n: drawn.to(device) for n, drawn in self._drawn().items() if n != "hue_steps"}
        return replace(self, **moved)

    def slice(self, start: int, size: int) -> Draws:
        """Return the draws of ``size`` images from ``start`` on."""
        return Draws(**{n: drawn[start : start + size] for n, drawn in self._drawn().items()})

    def _drawn(self) -> dict[str, torch.Tensor]:
        return {name: values for name, values in vars(self).items() if values is not None}


def check_padding(spec: Dataset) -> None:
    """Raise :class:`BadInputError` if the images are too small for the crop padding."""
    padding, largest = spec.augmentation.crop_padding, spec.image_size - 1
    if padding > largest:
        raise BadInputError(
            f"dataset.augmentation.crop_padding = {padding}: must be at most {largest} for "
            f"images of {spec.image_size} pixels"
        )


def draw(spec: Augmentation, images: int, generator: torch.Generator) -> Draws:
    """Draw the parameters of an epoch's images from a generator on the CPU."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(images, generator=generator)

    drawn: dict[str, torch.Tensor] = {}
    if spec.crop_padding:
        positions = 2 * spec.crop_padding + 1
        drawn["corners"] = torch.randint(positions, (images, 2), generator=generator)
    if spec.horizontal_flip:
        drawn["flips"] = torch.rand(images, generator=generator) < 0.5
    if spec.brightness:
        drawn["shifts"] = uniform(-spec.brightness, spec.brightness)
    if spec.contrast is not None:
        drawn["contrasts"] = uniform(*spec.contrast)
    if spec.saturation is not None:
        drawn["saturations"] = uniform(*spec.saturation)
    if spec.hue:
        drawn["hue_steps"] = torch.randint(HUE_STEPS, (images,), generator=generator)
    return Draws(**drawn)


def augment(images: torch.Tensor, draws: Draws, spec: Augmentation) -> torch.Tensor:
    """Return the augmented images, (n, 3, side, side) float32 between 0 and 1."""
    if draws.corners is not None:
        images = _crop(images, draws.corners, spec.crop_padding)
    if draws.flips is not None:
        # All images are flipped, because selecting some would make the GPU wait.
        flipped = functional.horizontal_flip(images)
        images = torch.where(_by_image(draws.flips), flipped, images)
    if draws.shifts is not None:
        images = (images + _by_image(draws.shifts)).clamp(0, 1)
    if draws.contrasts is not None:
        grey = functional.rgb_to_grayscale(images).mean(dim=(-3, -2, -1), keepdim=True)
        images = _blend(images, grey, draws.contrasts)
    if draws.saturations is not None:
        images = _blend(images, functional.rgb_to_grayscale(images), draws.saturations)
    if draws.hue_steps is not None:
        images = _shift_hue(images, draws.hue_steps, spec.hue)
    return images


def hue_shift(step: int, largest: float) -> float:
    """Return the hue shift of a step as a share of the full circle."""
    middle = HUE_STEPS // 2
    return largest * (step - middle) / middle


def _by_image(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)


def _blend(images: torch.Tensor, towards: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    # Like torchvision's, which has one factor for the whole batch.
    factor = _by_image(factors)
    return (images * factor + towards * (1 - factor)).clamp(0, 1)


def _crop(images: torch.Tensor, corners: torch.Tensor, padding: int) -> torch.Tensor:
    height, width = images.shape[-2:]
    padded = functional.pad(images, [padding], padding_mode="reflect")
    offsets = torch.arange(max(height, width), device=images.device)
    rows = corners[:, 0, None] + offsets[:height]
    columns = corners[:, 1, None] + offsets[:width]
    image = torch.arange(len(images), device=images.device)[:, None, None]
    cropped: torch.Tensor = padded[image, :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)


def _shift_hue(images: torch.Tensor, steps: torch.Tensor, largest: float) -> torch.Tensor:
    shifted = images.clone()
    for step in steps.unique().tolist():
        shift = hue_shift(step, largest)
        if not math.isclose(shift, 0.0):
            chosen = (steps == step).nonzero().flatten().to(images.device)
            shifted[chosen] = functional.adjust_hue(images[chosen], shift)
    return shifted
