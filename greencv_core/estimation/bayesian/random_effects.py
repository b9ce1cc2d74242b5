"""Crossed random effects model of the levels of conditions, which predicts a new condition's level.

A level (such as the logarithm of energy per operation) belongs to an architecture, an environment,
a setting and a stage of training. It is a straight line in the logarithm of the architecture's
GFLOPs plus a sum of effects: of the environment, also on the slope; of the architecture; of the two
together; and of each of them, and of GFLOPs, on the step from one stage to the next. All effects
are Gaussian with unknown standard deviations, which have wide log-normal priors and are integrated
out by importance sampling around their mode, so that few conditions give wide intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, stats
from statsmodels.tools.numdiff import approx_fprime

from greencv_core.estimation.trajectory import Floats

Cell = tuple[str, str, str, str, float]
"""Architecture, environment, setting, stage, and logarithm of GFLOPs."""

DRAWS = 128  # number of posterior draws of the standard deviations
SEED = 2022
UNLIKE_DF = 4.0
"""Degrees of freedom of the deviation of a new condition: heavier tails than a Gaussian."""
_CANDIDATES = 1024
_TAILS_DF = 5.0
"""Degrees of freedom of the proposal, whose tails must be heavier than the posterior's."""
_DECIMALS = 3  # decimals of the proposal's parameters
_LINE_SD = (10.0, 1.0, 1.0)
"""Prior standard deviations of the line's level, its slope, and the step between stages."""
_MEDIAN_SD = (0.5, 0.2, 0.3, 0.15, 0.2, 0.2, 0.1, 0.1)
"""Prior medians of the effects' standard deviations, in the order of :func:`_effects`, in natural
logarithms: 0.2 is about 20%."""
_SPREAD = 1.0  # prior standard deviation of the logarithm of each: a factor of e is not unusual


@dataclass(frozen=True)
class Design:
    """Design of the observations: one entry per condition and stage."""

    architecture: NDArray[np.str_]
    environment: NDArray[np.str_]
    setting: NDArray[np.str_]
    stage: NDArray[np.str_]
    log_gflops: Floats

    @classmethod
    def from_cells(cls, cells: Sequence[Cell]) -> Design:
        """Build a design from its cells."""
        words = np.array([cell[:4] for cell in cells], dtype=str).reshape(-1, 4)
        architecture, environment, setting, stage = words.T
        log_gflops = np.array([cell[4] for cell in cells], dtype=float)
        return cls(architecture, environment, setting, stage, log_gflops)

    def __len__(self) -> int:
        return len(self.stage)


@dataclass(frozen=True)
class LevelModel:
    """Observed levels, and the posterior of the effects."""

    known: Design
    levels: Floats
    """Observed levels, less their mean."""
    mean: float
    variances: Floats
    """Variance of each observed level, from the variability of the runs that it averages."""
    log_sds: Floats
    """(draws, effects): equally probable standard deviations."""
    scales: Floats
    """(draws, 1, 1): factors of the variance of a new condition; they make its distribution a
    Student's t, since a condition may differ from all others."""

    def predict(self, wanted: Design) -> tuple[Floats, Floats]:
        """Return means (draws, cells) and covariances (draws, cells, cells) of other levels."""
        prior = self._covariances(wanted, wanted)
        if not len(self.known):
            return np.full((len(prior), len(wanted)), self.mean), self.scales * prior
        own = self._covariances(self.known, self.known)
        own[:, range(len(self.known)), range(len(self.known))] += self.variances
        cross = self._covariances(self.known, wanted)
        targets = np.broadcast_to(self.levels[None, :, None], (len(own), len(self.levels), 1))
        solved = np.linalg.solve(own, np.concatenate([cross, targets], axis=2))
        weights, toward = solved[:, :, :-1], solved[:, :, -1]
        means = self.mean + np.einsum("dkp,dk->dp", cross, toward)
        return means, self.scales * (prior - np.einsum("dkp,dkq->dpq", cross, weights))

    def _covariances(self, a: Design, b: Design) -> Floats:
        mixed: Floats = _line(a, b) + np.tensordot(np.exp(2 * self.log_sds), _effects(a, b), 1)
        return mixed


def fit_level_model(known: Design, levels: Floats, variances: Floats) -> LevelModel:
    """Learn the effects from a level per entry of the design, each with its variance.

    Without levels the posterior is the prior.
    """
    rng = np.random.default_rng(SEED)
    prior_mean = np.log(_MEDIAN_SD)
    scales = UNLIKE_DF / rng.chisquare(UNLIKE_DF, (DRAWS, 1, 1))
    if not len(known):
        log_sds = rng.normal(prior_mean, _SPREAD, (DRAWS, len(prior_mean)))
        return LevelModel(known, levels, 0.0, variances, log_sds, scales)
    mean = float(levels.mean())
    posterior = _Posterior(_line(known, known), _effects(known, known), levels - mean, variances)
    mode, curvature = _find_mode(posterior)
    log_sds = _sample_posterior(posterior.cost, mode, curvature, rng)
    return LevelModel(known, levels - mean, mean, variances, log_sds, scales)


@dataclass(frozen=True)
class _Posterior:
    """Negative logarithm of the posterior density of the effects' logarithmic sds."""

    line: Floats
    effects: Floats
    levels: Floats
    variances: Floats

    def cost(self, log_sds: Floats) -> float:
        try:
            factor = self._factor(log_sds)
        except linalg.LinAlgError:
            return 1e10
        levels = self.levels
        fit = 0.5 * levels @ linalg.cho_solve(factor, levels) + np.log(np.diag(factor[0])).sum()
        return float(fit + 0.5 * (((log_sds - np.log(_MEDIAN_SD)) / _SPREAD) ** 2).sum())

    def slope(self, log_sds: Floats) -> Floats:
        try:
            factor = self._factor(log_sds)
        except linalg.LinAlgError:
            return np.zeros_like(log_sds)
        n = len(self.levels)
        solved = linalg.cho_solve(factor, np.column_stack([self.levels, np.eye(n)]))
        toward, inverse = solved[:, 0], solved[:, 1:]
        volume, fit = np.tensordot(self.effects, inverse), toward @ self.effects @ toward
        prior = (log_sds - np.log(_MEDIAN_SD)) / _SPREAD**2
        gradient: Floats = np.exp(2 * log_sds) * (volume - fit) + prior
        return gradient

    def _factor(self, log_sds: Floats) -> Any:
        effects = np.tensordot(np.exp(2 * log_sds), self.effects, 1)
        return linalg.cho_factor(self.line + effects + np.diag(self.variances), lower=True)


def _find_mode(posterior: _Posterior) -> tuple[Floats, Floats]:
    """Return the mode of the posterior, and the curvature there."""
    start, options = np.log(_MEDIAN_SD), {"gtol": 1e-8}
    mode = optimize.minimize(
        posterior.cost, start, jac=posterior.slope, method="BFGS", options=options
    ).x
    # BFGS's own curvature is too rough for a proposal, and it stops near the optimum: two Newton
    # steps reach it from anywhere near.
    for _ in range(2):
        curvature = approx_fprime(mode, posterior.slope, centered=True)
        curvature = (curvature + curvature.T) / 2
        mode = mode - np.linalg.solve(curvature, posterior.slope(mode))
    return mode, curvature


def _sample_posterior(
    cost: Callable[[Floats], float], mode: Floats, curvature: Floats, rng: np.random.Generator
) -> Floats:
    """Return draws by importance sampling from a Student's t around the mode."""
    sizes, axes = np.linalg.eigh(curvature)
    # Not narrower than a third of the prior, nor wider than it.
    spread = (axes / np.clip(sizes, _SPREAD**-2, (_SPREAD / 3) ** -2)) @ axes.T
    # The proposal is arbitrary. Rounded, and sampled without an eigenvector's sign, it is the same
    # on every processor, though their last digits differ.
    mode, spread = np.round(mode, _DECIMALS), np.round(spread, _DECIMALS)
    proposal = stats.multivariate_t(mode, spread, df=_TAILS_DF)
    gaussian = rng.standard_normal((_CANDIDATES, len(mode)))
    tails = np.sqrt(_TAILS_DF / rng.chisquare(_TAILS_DF, (_CANDIDATES, 1)))
    candidates = mode + tails * gaussian @ linalg.cholesky(spread, lower=True).T
    log_weights = -np.array([cost(candidate) for candidate in candidates])
    log_weights = log_weights - proposal.logpdf(candidates)
    weights = np.exp(log_weights - log_weights.max())
    # Evenly spaced along their weights, which varies less than random draws.
    evenly = (np.arange(DRAWS) + 0.5) / DRAWS
    chosen = np.searchsorted(np.cumsum(weights) / weights.sum(), evenly)
    draws: Floats = candidates[chosen]
    return draws


def _line(a: Design, b: Design) -> Floats:
    """Return the covariance of two sets of levels due to the line."""
    products, stage = np.outer(a.log_gflops, b.log_gflops), _same(a.stage, b.stage)
    level, slope, step = _LINE_SD
    covariance: Floats = level**2 + slope**2 * products + step**2 * stage
    return covariance


def _effects(a: Design, b: Design) -> Floats:
    """Return (effects, a, b): the covariance due to each effect of unit variance."""
    environment = _same(a.environment, b.environment)
    architecture = _same(a.architecture, b.architecture)
    condition = environment * architecture * _same(a.setting, b.setting)
    stage = _same(a.stage, b.stage)
    products = np.outer(a.log_gflops, b.log_gflops)
    effects = [environment, environment * products, architecture, condition]
    on_step = [environment * stage, architecture * stage, condition * stage, products * stage]
    return np.stack([*effects, *on_step])


def _same(a: NDArray[np.str_], b: NDArray[np.str_]) -> Floats:
    return np.equal.outer(a, b).astype(float)
