"""Exact mean and standard deviation of pixels: integer sums do not depend on their order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

CHUNK = 1024
"""Images in one sum."""


@dataclass(frozen=True)
class Moments:
    """Sums over the pixels of each channel, integers from 0 to 255."""

    pixels: int
    sums: list[int]
    squares: list[int]

    @staticmethod
    def total(parts: Iterable[Moments]) -> Moments:
        """Return the sums over several sets of images."""
        parts = list(parts)
        return Moments(
            sum(part.pixels for part in parts),
            [sum(channel) for channel in zip(*(part.sums for part in parts), strict=True)],
            [sum(channel) for channel in zip(*(part.squares for part in parts), strict=True)],
        )

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation by channel, of pixels scaled to 0 to 1."""
        means = [total / self.pixels / 255 for total in self.sums]
        deviations = []
        for total, squares in zip(self.sums, self.squares, strict=True):
            variance = (squares * self.pixels - total**2) / self.pixels**2
            deviations.append(variance**0.5 / 255)
        return means, deviations


def compute_moments(images: torch.Tensor) -> Moments:
    """Sum over (n, channels, height, width) uint8 images."""
    n, channels, height, width = images.shape
    sums, squares = (torch.zeros(channels, dtype=torch.int64) for _ in range(2))
    for chunk in images.split(CHUNK):
        sums += chunk.sum(dim=(0, 2, 3), dtype=torch.int64)
        squares += chunk.int().square().sum(dim=(0, 2, 3), dtype=torch.int64)
    return Moments(n * height * width, sums.tolist(), squares.tolist())
