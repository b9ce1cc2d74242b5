"""Simulated studies and sessions of known truth: how often intervals hold it."""

import math

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import stdtrit

from greencv_core.analysis import saving
from greencv_core.published.pooling import Effect, pool

SEED = 2022
STUDIES, SESSIONS = (3, 5, 8), (3, 4, 8)
HETEROGENEITY = {"none": 0.0, "moderate": 1.0, "strong": 3.0}
"""Standard deviation of the true effects over the typical standard error of an effect: an I squared
of 0, of about a half and of about nine tenths."""
ARCHITECTURES = (5, 13)  # of a study: from the first to below the second, as published
DECADES = 2.5  # of GFLOPs that a study's architectures span
RESIDUALS = (0.05, 0.2)  # standard deviation of log10 energy ratios about their line
TYPICAL_SE = 0.035
TRUTH = -0.13
USED, PLAIN = "used", "without Meier's factor"
AT_LEAST_ONE, NORMAL = "factor of at least 1", "normal quantiles"
UNWEIGHTED, PREDICTION = "mean without weights", "prediction interval"

WITHIN = 0.04  # standard deviation of log energy in a session
BETWEEN = {
    "none": (0.0, 0.0),
    "moderate": (0.04, 0.04),
    "strong": (0.16, 0.16),
    "unequal": (0.16, 0.04),
    "shared": (0.16, 0.16),
}
"""Standard deviation between sessions of both conditions; shared: the same sessions of both."""
SIZES = (2, 3, 5, 8, 10, 20)  # runs of a session
OWN = 0.02  # between sessions, of a condition's difference from the sessions that both share
WELCH, SATTERTHWAITE, BY_RUNS = "used", "Satterthwaite", "runs as units"
CHECKED = 50  # one in so many simulations checks the short cut against the project's function
DEAR, CHEAP = {"architecture": "dear"}, {"architecture": "cheap"}
RATIO = 0.2


def pooled_coverage(k, heterogeneity, simulations):
    """Return how often each interval of the mean of k studies holds the true mean."""
    rng = np.random.default_rng([SEED, k, round(heterogeneity)])
    quantile, normal = stats.t.ppf(0.975, k - 1), stats.norm.ppf(0.975)
    held = dict.fromkeys((USED, PLAIN, AT_LEAST_ONE, NORMAL, UNWEIGHTED, PREDICTION), 0)
    for _ in range(simulations):
        effects = [simulated_effect(rng, heterogeneity) for _ in range(k)]
        found = pool(effects)
        error = abs(found.mean - TRUTH)
        weights = 1 / (np.array([e.se for e in effects]) ** 2 + found.tau_squared)
        fixed = 1 / math.sqrt(weights.sum())
        another = rng.normal(TRUTH, heterogeneity * TYPICAL_SE)
        estimates = np.array([e.estimate for e in effects])
        scatter = (weights * (estimates - found.mean) ** 2).sum() / (k - 1)
        plain = fixed * math.sqrt(scatter)
        unweighted = quantile * np.std(estimates, ddof=1) / math.sqrt(k)
        held[USED] += found.ci_low <= TRUTH <= found.ci_high
        held[PLAIN] += error <= quantile * plain
        held[AT_LEAST_ONE] += error <= quantile * max(plain, fixed)
        held[NORMAL] += error <= normal * fixed
        held[UNWEIGHTED] += abs(np.mean(estimates) - TRUTH) <= unweighted
        held[PREDICTION] += found.prediction_low <= another <= found.prediction_high
    return {name: float(n / simulations) for name, n in held.items()}


def simulated_effect(rng, heterogeneity):
    """Return the slope of a study, with the standard error that its own architectures give."""
    n = int(rng.integers(*ARCHITECTURES))
    x = rng.uniform(0, DECADES, n)
    slope = TRUTH + heterogeneity * TYPICAL_SE * rng.standard_normal()
    line = stats.linregress(x, slope * x + rng.uniform(*RESIDUALS) * rng.standard_normal(n))
    return Effect("", "", "", n, float(line.slope), float(line.stderr), n - 2)


def session_coverage(sessions, case, simulations):
    """Return how often each interval of a saving holds the true one."""
    rng = np.random.default_rng([SEED, sessions, list(BETWEEN).index(case)])
    held = dict.fromkeys((WELCH, SATTERTHWAITE, BY_RUNS), 0)
    for number in range(simulations):
        dear, cheap = simulated_conditions(rng, sessions, case)
        means = [np.array([some.mean() for some in each]) for each in (dear, cheap)]
        samples = [means[1] - means[0]] if case == "shared" else means
        error = abs(means[1].mean() - means[0].mean() - math.log(RATIO))
        half = half_width(samples)
        held[WELCH] += error <= half
        held[SATTERTHWAITE] += error <= half_width(samples, satterthwaite=True)
        if number % CHECKED == 0:
            check(saving(_table(dear, cheap, case), DEAR, CHEAP), means, half)
        a, b = np.concatenate(dear), np.concatenate(cheap)
        held[BY_RUNS] += abs(b.mean() - a.mean() - math.log(RATIO)) <= half_width(
            [a, b], satterthwaite=True
        )
    return {name: float(n / simulations) for name, n in held.items()}


def half_width(samples, satterthwaite=False):
    """Return half the interval of a mean, or of a difference of two means (Welch's t).

    With degrees of freedom by Satterthwaite, or by Welch (1947) within their bounds.
    """
    parts = [sample.var(ddof=1) / len(sample) for sample in samples]
    sizes = [len(sample) for sample in samples]
    total, df = sum(parts), sizes[0] - 1
    if satterthwaite:
        df = total**2 / sum(p**2 / (n - 1) for p, n in zip(parts, sizes, strict=True))
    elif len(samples) == 2:
        df = total**2 / sum(p**2 / (n + 1) for p, n in zip(parts, sizes, strict=True)) - 2
        df = min(max(df, min(sizes) - 1), sum(sizes) - 2)
    return stdtrit(df, 0.975) * math.sqrt(total)


def check(found, means, half):
    """Fail if the project's function gives another interval than the short cut."""
    centre = means[1].mean() - means[0].mean()
    expected = 1 - np.exp([centre + half, centre - half])
    np.testing.assert_allclose([found.ci_low, found.ci_high], expected, rtol=1e-9)


def simulated_conditions(rng, sessions, case):
    """Return logarithms of energies by session, of the dear condition and of the cheap one."""
    levels = [rng.normal(0, between, sessions) for between in BETWEEN[case]]
    if case == "shared":
        levels = [levels[0] + rng.normal(0, OWN, sessions) for _ in levels]
    return [
        [rng.normal(centre + level, WITHIN, rng.choice(SIZES)) for level in some]
        for centre, some in zip((0.0, math.log(RATIO)), levels, strict=True)
    ]


def _table(dear, cheap, case):
    rows = [
        (name, f"{number}" if case == "shared" else f"{name} {number}", value)
        for name, condition in (("dear", dear), ("cheap", cheap))
        for number, values in enumerate(condition)
        for value in np.exp(values)
    ]
    columns = ["architecture", "session", "energy_j_per_image"]
    return pd.DataFrame(rows, columns=columns).assign(environment="one", f1_macro=0.9)
