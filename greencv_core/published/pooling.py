"""Random-effects mean of the effects of several studies, with its uncertainty.

The heterogeneity variance is Paule and Mandel's (1982), the interval Hartung and Knapp's (2001).
Standard errors come from few architectures, so the weights are uncertain, too: the variance of the
mean is enlarged by Meier's (1953) factor. Without it, intervals of such effects cover too little
(``benchmarks/evidence.py``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from greencv_core.analysis.result import CONFIDENCE, NotEnoughDataError, Values
from greencv_core.utils.text import count, listed, p_value, percent

FEWEST = 3
"""Effects below which there is no pooled figure."""
_TAU_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Effect:
    """A quantity of one comparison in one data set, with its standard error."""

    source: str
    """Name of the data set."""
    laboratory: str
    """Group that measured; effects of one group are not independent."""
    pair: str
    """What is compared: ``larger/smaller`` hardware, or conditions."""
    architectures: int
    """Number of architectures that the effect is from."""
    estimate: float
    se: float
    """NaN if the measurements do not define it, such as one run a condition."""
    df: float = math.inf
    """Degrees of freedom of the standard error."""

    @property
    def ci_low(self) -> float:
        """Lower end of the effect's own 95% t interval."""
        return self.estimate - self._half_width

    @property
    def ci_high(self) -> float:
        """Upper end of the effect's own 95% t interval."""
        return self.estimate + self._half_width

    @property
    def p(self) -> float:
        """P value of an effect of 0."""
        return float(2 * stats.t.sf(abs(self.estimate / self.se), self.df))

    @property
    def name(self) -> str:
        """Name of the data set and the pair: ``fischer2022: A/B (PyTorch)``."""
        return f"{self.source}: {self.pair}"

    @property
    def _half_width(self) -> float:
        return float(stats.t.ppf((1 + CONFIDENCE) / 2, self.df)) * self.se


@dataclass(frozen=True)
class Pooled:
    """Random-effects mean of some effects."""

    effects: tuple[Effect, ...]
    """Effects that are pooled; those without a standard error are not."""
    mean: float
    se: float
    """Hartung and Knapp's standard error, with Meier's factor."""
    ci_low: float
    ci_high: float
    prediction_low: float
    """95% interval of the true effect of another study (Higgins, Thompson and Spiegelhalter
    2009), with two degrees of freedom fewer than effects."""
    prediction_high: float
    q: float
    """Cochran's Q."""
    q_p: float
    i_squared: float
    """Share of the variation that is heterogeneity (Higgins and Thompson 2002), 0 to 1."""
    tau_squared: float
    """Variance of the true effects (Paule and Mandel)."""

    @cached_property
    def leave_one_out(self) -> pd.DataFrame:
        """Return left_out, mean, ci_low, ci_high and tau_squared without each effect in turn."""
        rows = []
        for number, effect in enumerate(self.effects):
            rest = _pool([*self.effects[:number], *self.effects[number + 1 :]])
            rows.append((effect.name, rest.mean, rest.ci_low, rest.ci_high, rest.tau_squared))
        return pd.DataFrame(rows, columns=["left_out", "mean", "ci_low", "ci_high", "tau_squared"])

    @property
    def shared_laboratories(self) -> dict[str, int]:
        """Laboratories with more than one effect, and how many."""
        numbers = Counter(effect.laboratory for effect in self.effects)
        return {name: n for name, n in numbers.items() if n > 1}

    def sentence(self) -> str:
        """Describe the mean, its intervals, the heterogeneity and what is not independent."""
        text = (
            f"The random-effects mean of {len(self.effects)} effects is {_signed(self.mean)} "
            f"(95% interval {_signed(self.ci_low)} to {_signed(self.ci_high)}; prediction "
            f"interval for another study {_signed(self.prediction_low)} to "
            f"{_signed(self.prediction_high)}; Q = {self.q:.2f}, {p_value(self.q_p)}, "
            f"I\N{SUPERSCRIPT TWO} = {percent(self.i_squared, 0)})."
        )
        shared = [
            f"{count(n, 'effect')} from {name}" for name, n in self.shared_laboratories.items()
        ]
        if shared:
            text += f" {listed(shared)} are not independent of each other."
        means = self.leave_one_out["mean"]
        return (
            f"{text} Without any one effect, the mean is between {_signed(means.min())} and "
            f"{_signed(means.max())}."
        )

    def table(self) -> pd.DataFrame:
        """Return the effects, and whether another one comes from the same laboratory."""
        return effects_table(self.effects)


def effects_table(effects: Sequence[Effect]) -> pd.DataFrame:
    """Return a row for each effect, with its interval and a mark of shared laboratories."""
    numbers = Counter(effect.laboratory for effect in effects)
    columns = ["source", "laboratory", "pair", "architectures", "estimate", "se", "df"]
    rows = [
        {
            **{name: getattr(effect, name) for name in columns},
            "ci_low": effect.ci_low,
            "ci_high": effect.ci_high,
            "p": effect.p,
            "shared_laboratory": numbers[effect.laboratory] > 1,
        }
        for effect in effects
    ]
    return pd.DataFrame(rows, columns=[*columns, "ci_low", "ci_high", "p", "shared_laboratory"])


def pool(effects: Sequence[Effect]) -> Pooled:
    """Return the random-effects mean of the effects that have a standard error.

    Raises
    ------
    NotEnoughDataError
        There are fewer than three.
    """
    known = [effect for effect in effects if math.isfinite(effect.se) and effect.se > 0]
    if len(known) < FEWEST:
        raise NotEnoughDataError(
            f"a pooled figure needs at least {FEWEST} effects with a standard error, and there "
            f"{'is' if len(known) == 1 else 'are'} {len(known) or 'none'}"
        )
    return _pool(known)


def _pool(effects: Sequence[Effect]) -> Pooled:
    estimates = np.array([effect.estimate for effect in effects])
    variances = np.array([effect.se for effect in effects]) ** 2
    # Without a unit: the iteration's tolerance is absolute.
    scale = float(variances.mean())
    found = combine_effects(
        estimates / math.sqrt(scale), variances / scale, method_re="pm", atol=_TAU_TOLERANCE
    )
    tau_squared, mean = float(found.tau2) * scale, float(found.mean_effect_re) * math.sqrt(scale)
    factor = _meier_factor(np.asarray(found.weights_rel_re), variances, tau_squared, effects)
    se = math.sqrt(float(found.var_hksj_re) * scale * factor)
    k = len(effects)
    half = _quantile(k - 1) * se
    ahead = _quantile(k - 2) * math.sqrt(tau_squared + se**2) if k > 2 else math.inf
    q = float(found.q)
    return Pooled(
        effects=tuple(effects),
        mean=mean,
        se=se,
        ci_low=mean - half,
        ci_high=mean + half,
        prediction_low=mean - ahead,
        prediction_high=mean + ahead,
        q=q,
        q_p=float(stats.chi2.sf(q, k - 1)),
        i_squared=max(0.0, 1 - (k - 1) / q) if q > 0 else 0.0,
        tau_squared=tau_squared,
    )


def _meier_factor(
    shares: Values, variances: Values, tau_squared: float, effects: Sequence[Effect]
) -> float:
    """Return the factor of the mean's variance for weights of estimated variances.

    Meier (1953) has it for fixed effects. With heterogeneity, only the part of a weight that
    depends on the effect's own variance is uncertain.
    """
    df = np.array([effect.df for effect in effects])
    own = variances / (variances + tau_squared)
    return float(1 + 4 * np.sum(shares * (1 - shares) * own**2 / df))


def _quantile(df: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, df))


def _signed(value: float) -> str:
    return f"{value:z.3f}".replace("-", "\N{MINUS SIGN}")
