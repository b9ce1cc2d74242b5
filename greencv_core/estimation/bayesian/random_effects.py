"""Levels of conditions, explained by crossed random effects: what a new condition's level may be.

A level (the logarithm of a cost per operation, say) of an architecture, in an environment, in a
setting, in a stage of training, is a straight line in the logarithm of the architecture's GFLOPs
and a sum of effects: of the environment, also on the slope; of the architecture; of the two
together; and of each of them, and of GFLOPs, on the step from one stage to the next. All are
Gaussian with unknown standard deviations, which have wide log-normal priors and are integrated out
by importance sampling around their most probable values, so that few conditions make wide
intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, stats
from statsmodels.tools.numdiff import approx_fprime

Floats = NDArray[np.float64]

DRAWS = 128
"""Sets of standard deviations that stand for their posterior."""
SEED = 2022
UNLIKE_DF = 4.0
"""Degrees of freedom of what is not known of a condition: tails much heavier than a Gaussian's."""
_CANDIDATES = 1024
_TAILS_DF = 5.0
"""Of the proposal: heavier tails than the posterior's leave none of it out."""
_DECIMALS = 3
"""Of the proposal."""
_LINE_SD = (10.0, 1.0, 1.0)
"""Prior standard deviations of the line: its level, its slope, and the step between stages."""
_MEDIAN_SD = (0.5, 0.2, 0.3, 0.15, 0.2, 0.2, 0.1, 0.1)
"""Prior medians of the effects' standard deviations, in the order of :func:`_parts`: natural
logarithms, so that 0.2 is about a fifth up or down."""
_SPREAD = 1.0
"""Standard deviation of the logarithm of each: a factor of e is nothing unusual."""


@dataclass(frozen=True)
class Design:
    """Where levels stand: arrays of one length."""

    architecture: NDArray[np.str_]
    environment: NDArray[np.str_]
    setting: NDArray[np.str_]
    stage: NDArray[np.str_]
    log_gflops: Floats

    def __len__(self) -> int:
        return len(self.stage)


def design_from_rows(rows: Sequence[tuple[str, str, str, str, float]]) -> Design:
    """Build a design from rows of architecture, environment, setting, stage and log GFLOPs."""
    words = np.array([row[:4] for row in rows], dtype=str).reshape(-1, 4)
    architecture, environment, setting, stage = words.T
    log_gflops = np.array([row[4] for row in rows], dtype=float)
    return Design(architecture, environment, setting, stage, log_gflops)


@dataclass(frozen=True)
class LevelModel:
    """What levels are known of, and what they say of the effects."""

    known: Design
    levels: Floats
    """Less their mean."""
    mean: float
    variances: Floats
    """Of each level, from the variability of the runs that it is the mean of."""
    log_sds: Floats
    """(draws, effects): equally probable sets."""
    scales: Floats
    """(draws, 1, 1): by which what is not known of a condition varies more, or less, than the
    effects have it, so that one may be unlike all others: Student's t in place of Gaussian."""

    def at(self, wanted: Design) -> tuple[Floats, Floats]:
        """Return what is expected of other levels of one run's condition.

        Returns
        -------
        means
            (draws, cells).
        covariances
            (draws, cells, cells).
        """
        line, parts = _line(wanted, wanted), _parts(wanted, wanted)
        variances = np.exp(2 * self.log_sds)
        prior = line + np.tensordot(variances, parts, 1)
        if not len(self.known):
            return np.full((len(prior), len(wanted)), self.mean), self.scales * prior
        own = self._covariances(self.known, self.known)
        own[:, range(len(self.known)), range(len(self.known))] += self.variances
        cross = self._covariances(self.known, wanted)
        solved = np.linalg.solve(own, np.concatenate([cross, self._targets(len(own))], axis=2))
        weights, toward = solved[:, :, :-1], solved[:, :, -1]
        means = self.mean + np.einsum("dkp,dk->dp", cross, toward)
        return means, self.scales * (prior - np.einsum("dkp,dkq->dpq", cross, weights))

    def _covariances(self, a: Design, b: Design) -> Floats:
        mixed: Floats = _line(a, b) + np.tensordot(np.exp(2 * self.log_sds), _parts(a, b), 1)
        return mixed

    def _targets(self, draws: int) -> Floats:
        return np.broadcast_to(self.levels[None, :, None], (draws, len(self.levels), 1))


def fit_level_model(known: Design, levels: Floats, variances: Floats) -> LevelModel:
    """Learn the effects from levels; from none, they are as wide as before.

    Parameters
    ----------
    levels
        One for each place.
    variances
        Of each level about its condition's.
    """
    rng = np.random.default_rng(SEED)
    prior_mean = np.log(_MEDIAN_SD)
    scales = UNLIKE_DF / rng.chisquare(UNLIKE_DF, (DRAWS, 1, 1))
    if not len(known):
        log_sds = rng.normal(prior_mean, _SPREAD, (DRAWS, len(prior_mean)))
        return LevelModel(known, levels, 0.0, variances, log_sds, scales)
    mean = float(levels.mean())
    centred = levels - mean
    line, parts = _line(known, known), _parts(known, known)

    def factored(log_sds: Floats) -> Any:
        covariance = line + np.tensordot(np.exp(2 * log_sds), parts, 1) + np.diag(variances)
        return linalg.cho_factor(covariance, lower=True)

    def cost(log_sds: Floats) -> float:
        try:
            factor = factored(log_sds)
        except linalg.LinAlgError:
            return 1e10
        fit = 0.5 * centred @ linalg.cho_solve(factor, centred) + np.log(np.diag(factor[0])).sum()
        return float(fit + 0.5 * (((log_sds - prior_mean) / _SPREAD) ** 2).sum())

    def slope(log_sds: Floats) -> Floats:
        try:
            factor = factored(log_sds)
        except linalg.LinAlgError:
            return np.zeros_like(log_sds)
        solved = linalg.cho_solve(factor, np.column_stack([centred, np.eye(len(centred))]))
        toward, inverse = solved[:, 0], solved[:, 1:]
        volume, fit = np.tensordot(parts, inverse), toward @ parts @ toward
        told: Floats = np.exp(2 * log_sds) * (volume - fit) + (log_sds - prior_mean) / _SPREAD**2
        return told

    best = optimize.minimize(cost, prior_mean, jac=slope, method="BFGS", options={"gtol": 1e-8})
    middle = best.x
    # BFGS's own curvature is too rough to draw by: a few candidates would have all the weight. And
    # it ends near the optimum: two steps of Newton's end at it, wherever they began.
    for _ in range(2):
        curvature = approx_fprime(middle, slope, centered=True)
        curvature = (curvature + curvature.T) / 2
        middle = middle - np.linalg.solve(curvature, slope(middle))
    sizes, axes = np.linalg.eigh(curvature)
    # Not narrower than a third of the prior, nor wider than it.
    spread = (axes / np.clip(sizes, _SPREAD**-2, (_SPREAD / 3) ** -2)) @ axes.T
    # Where to draw is anybody's choice: rounded, and drawn without an eigenvector's sign, it is the
    # same on every processor, whose last digits differ.
    middle, spread = np.round(middle, _DECIMALS), np.round(spread, _DECIMALS)
    proposal = stats.multivariate_t(middle, spread, df=_TAILS_DF)
    gaussian = rng.standard_normal((_CANDIDATES, len(middle)))
    tails = np.sqrt(_TAILS_DF / rng.chisquare(_TAILS_DF, (_CANDIDATES, 1)))
    candidates = middle + tails * gaussian @ linalg.cholesky(spread, lower=True).T
    log_weights = -np.array([cost(one) for one in candidates]) - proposal.logpdf(candidates)
    weights = np.exp(log_weights - log_weights.max())
    # Evenly spaced along their weights, which strays less than draws at random.
    evenly = (np.arange(DRAWS) + 0.5) / DRAWS
    chosen = np.searchsorted(np.cumsum(weights) / weights.sum(), evenly)
    return LevelModel(known, centred, mean, variances, candidates[chosen], scales)


def _line(a: Design, b: Design) -> Floats:
    """Return the covariance of two sets of levels that the line brings."""
    products = np.outer(a.log_gflops, b.log_gflops)
    stage = _same(a.stage, b.stage)
    level, slope, step = _LINE_SD
    covariance: Floats = level**2 + slope**2 * products + step**2 * stage
    return covariance


def _parts(a: Design, b: Design) -> Floats:
    """Return (effects, a, b): the covariance that each effect of unit variance brings."""
    environment = _same(a.environment, b.environment)
    architecture = _same(a.architecture, b.architecture)
    condition = environment * architecture * _same(a.setting, b.setting)
    stage = _same(a.stage, b.stage)
    products = np.outer(a.log_gflops, b.log_gflops)
    return np.stack(
        [
            environment,
            environment * products,
            architecture,
            condition,
            environment * stage,
            architecture * stage,
            condition * stage,
            products * stage,
        ]
    )


def _same(a: NDArray[np.str_], b: NDArray[np.str_]) -> Floats:
    return np.equal.outer(a, b).astype(float)
