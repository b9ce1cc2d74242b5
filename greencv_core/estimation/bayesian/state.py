"""Weighted mixture of Gaussians: the knowledge of a run's levels, updated by observations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greencv_core.estimation.trajectory import Floats

DRAWS_PER_COMPONENT = 8


@dataclass
class LevelState:
    """Levels of a run: one Gaussian per draw of the standard deviations, with weights."""

    means: Floats
    """(draws, levels)."""
    covariances: Floats
    """(draws, levels, levels)."""
    log_weights: Floats

    @classmethod
    def join(cls, first: LevelState, second: LevelState) -> LevelState:
        """Concatenate the levels of two states, without correlation between them."""
        n = first.means.shape[1]
        covariances = np.zeros((len(first.means), 2 * n, 2 * n))
        covariances[:, :n, :n] = first.covariances
        covariances[:, n:, n:] = second.covariances
        means = np.concatenate([first.means, second.means], axis=1)
        return cls(means, covariances, np.zeros(len(means)))

    def observe(self, direction: Floats, value: Floats | float, variance: float) -> None:
        """Update on an observation of ``direction`` times the levels."""
        along = np.broadcast_to(direction, self.means.shape)
        carried = np.einsum("dpq,dq->dp", self.covariances, along)
        total = np.einsum("dp,dp->d", carried, along) + variance
        surprise = value - np.einsum("dp,dp->d", self.means, along)
        self.log_weights -= 0.5 * (surprise**2 / total + np.log(total))
        gain = carried / total[:, None]
        self.means = self.means + gain * surprise[:, None]
        self.covariances = self.covariances - gain[:, :, None] * carried[:, None, :]

    def sample(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return weights and levels of :data:`DRAWS_PER_COMPONENT` draws from each Gaussian."""
        n, size = self.means.shape
        # An observed level has almost no variance left, and rounding may make it negative.
        values, axes = np.linalg.eigh(self.covariances)
        # The symmetric root does not depend on the arbitrary sign of an eigenvector.
        scaled = axes * np.sqrt(np.maximum(values, 0))[:, None, :]
        spread = scaled @ axes.transpose(0, 2, 1)
        noise = rng.standard_normal((n, DRAWS_PER_COMPONENT, size))
        levels = self.means[:, None, :] + np.einsum("dpq,daq->dap", spread, noise)
        weights = np.exp(self.log_weights - self.log_weights.max())
        return np.repeat(weights, DRAWS_PER_COMPONENT), levels.reshape(-1, size)
