"""Sessions: runs without a long pause between them, and savings with sessions as units.

Runs of one session share the machine's state, such as temperature, clocks and other programs. They
resemble each other more than runs of different sessions, and count for less than independent ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis.result import CONFIDENCE, NotEnoughDataError
from greencv_core.analysis.selection import CONDITION, condition_name, runs_of
from greencv_core.utils.text import count, listed, percent, quantity

PAUSE_S = 3600.0
"""A pause longer than this separates two sessions (s)."""
RULE = (
    "A session ends when an environment rests for more than an hour between the end of one run and "
    "the start of the next."
)
"""The rule for runs whose session was not recorded."""


def find_sessions(runs: pd.DataFrame) -> pd.Series:
    """Return the name of each run's session; missing where it is unknown.

    The column ``session`` counts where it has a value. For other runs that have ``started_at``,
    :data:`RULE` applies in each environment, over all of its architectures. Without ``duration_s``,
    the end of a run is taken to be its start.
    """
    named = _column(runs, "session").astype(object)
    started = pd.to_datetime(_column(runs, "started_at"), utc=True, errors="coerce", format="mixed")
    unnamed = (named.isna() | (named == "")) & started.notna()
    named = named.where(named.notna() & (named != ""), None)
    duration = pd.to_timedelta(_column(runs, "duration_s").astype(float).fillna(0.0), unit="s")
    for environment, rows in runs[unnamed].groupby("environment", observed=True).groups.items():
        starts = started.loc[rows].sort_values(kind="stable")
        ends = (starts + duration.loc[starts.index]).cummax()
        pauses_s = (starts - ends.shift()).dt.total_seconds()
        firsts = starts.where(pauses_s.isna() | (pauses_s > PAUSE_S)).ffill()
        named.loc[firsts.index] = [f"{environment} from {first.isoformat()}" for first in firsts]
    return named.rename("session")


@dataclass(frozen=True)
class SessionSpread:
    """Spread of a value between and within sessions."""

    value: str
    conditions: pd.DataFrame
    """architecture, environment, n, sessions, sd_between, sd_within (of natural logarithms) and
    icc, the intraclass correlation: the share of the variance that lies between sessions. NaN with
    one session, or without a session of two runs."""

    def sentence(self) -> str:
        """Describe in how many sessions the runs were made, and how much sessions differ."""
        table = self.conditions
        single = table[table["sessions"] == 1]
        if len(single) == len(table):
            return (
                "Each condition was trained in one session, so every interval holds for that "
                "session: the machine on another day may differ by more."
            )
        text = ""
        known = table.dropna(subset=["icc"])
        if len(known):
            worst = known.loc[known["icc"].idxmax()]
            name = condition_name(worst[list(CONDITION)])
            text = (
                f"Sessions differ most in {name}: {percent(worst['icc'], 0)} of the variance of "
                f"log {quantity(self.value)} lies between its {count(worst['sessions'], 'session')}"
                f" (standard deviation {worst['sd_between']:.3f} between sessions, "
                f"{worst['sd_within']:.3f} within). The median condition has "
                f"{percent(float(known['icc'].median()), 0)}. "
            )
        if len(single):
            text += (
                f"{count(len(single), 'condition')} of {len(table)} was trained in one session, "
                "and the interval holds for that session."
                if len(single) == 1
                else f"{len(single)} of {len(table)} conditions were trained in one session each, "
                "and their intervals hold for that session."
            )
        return text.strip()

    def table(self) -> pd.DataFrame:
        """Return the conditions."""
        return self.conditions


def session_spread(runs: pd.DataFrame, value: str = "energy_j_per_image") -> SessionSpread:
    """Return the spread of a value's logarithm between and within sessions, by condition.

    Variance components are those of the one-way analysis of variance with unequal sizes (Searle,
    Casella and McCulloch 1992); one below 0 counts as 0. Runs of unknown sessions are left out.
    """
    known = _with_sessions(runs, value)
    rows = [
        {**dict(zip(CONDITION, key, strict=True)), **_components(part)}
        for key, part in known.groupby(list(CONDITION), sort=False, observed=True)
    ]
    return SessionSpread(value, pd.DataFrame(rows))


def _components(part: pd.DataFrame) -> dict[str, float]:
    groups = part.groupby("session")["log"]
    sizes = groups.size().to_numpy()
    n, sessions = int(sizes.sum()), len(sizes)
    row: dict[str, float] = {"n": n, "sessions": sessions}
    nothing = {"sd_between": math.nan, "sd_within": math.nan, "icc": math.nan}
    if n == sessions:
        return row | nothing
    within = float(((part["log"] - groups.transform("mean")) ** 2).sum() / (n - sessions))
    if sessions == 1:
        return row | nothing | {"sd_within": math.sqrt(within)}
    between = float((sizes * (groups.mean() - part["log"].mean()) ** 2).sum() / (sessions - 1))
    size = (n - float((sizes**2).sum()) / n) / (sessions - 1)
    variance = max(0.0, (between - within) / size)
    total = variance + within
    return row | {
        "sd_between": math.sqrt(variance),
        "sd_within": math.sqrt(within),
        "icc": variance / total if total else math.nan,
    }


@dataclass(frozen=True)
class SessionSaving:
    """Saving between two conditions with sessions as units, and its 95 % interval."""

    value: str
    saving: float
    """1 less the ratio of the geometric means of session medians."""
    ci_low: float
    ci_high: float
    """NaN if a condition has one session."""
    method: str
    """``Welch``; ``paired`` if both conditions were trained in the same sessions."""
    from_condition: Mapping[str, object]
    to_condition: Mapping[str, object]
    sessions_from: int
    sessions_to: int
    n_from: int
    n_to: int

    @property
    def dear(self) -> str:
        """Name of the condition to compare with."""
        return condition_name(self.from_condition.values())

    @property
    def cheap(self) -> str:
        """Name of the condition that saves."""
        return condition_name(self.to_condition.values())

    def sentence(self) -> str:
        """Describe the saving, its interval and the number of sessions."""
        word = "more" if self.saving < 0 else "less"
        text = (
            f"With sessions as units, {self.cheap} uses {percent(abs(self.saving))} {word} "
            f"{quantity(self.value)} than {self.dear}"
        )
        if math.isnan(self.ci_low):
            single = [
                name
                for name, sessions in (
                    (self.cheap, self.sessions_to),
                    (self.dear, self.sessions_from),
                )
                if sessions == 1
            ]
            verb = "was" if len(single) == 1 else "were each"
            return (
                f"{text}. {listed(single)} {verb} trained in one session, so no interval covers "
                "other sessions: an interval by runs holds for that session."
            )
        low, high = sorted((self.ci_low, self.ci_high))
        if self.saving < 0:
            low, high = -high, -low
        units = (
            f"{count(self.sessions_to, 'session')}, paired"
            if self.method == "paired"
            else f"{self.sessions_to} and {self.sessions_from} sessions"
        )
        return f"{text} (95 % interval {percent(low)} to {percent(high)}; {units})."


def session_saving(
    runs: pd.DataFrame,
    from_condition: Mapping[str, object],
    to_condition: Mapping[str, object],
    value: str = "energy_j_per_image",
) -> SessionSaving:
    """Compare two conditions by the medians of their sessions.

    The interval is Welch's t of the logarithms of session medians; if both conditions were trained
    in the same sessions, the t interval of their differences. ``benchmarks/evidence.py`` shows
    their coverage.

    Raises
    ------
    NotEnoughDataError
        A condition has no run of a known session, or a value is not above 0.
    """
    known = _with_sessions(runs, value)
    (dear, n_from), (cheap, n_to) = (
        _medians(known, condition) for condition in (from_condition, to_condition)
    )
    paired = len(dear) > 1 and set(dear.index) == set(cheap.index)
    difference = float(cheap.mean() - dear.mean())
    half = math.nan
    if paired:
        half = _half_width([(cheap - dear).to_numpy()])
    elif min(len(dear), len(cheap)) > 1:
        half = _half_width([cheap.to_numpy(), dear.to_numpy()])
    return SessionSaving(
        value=value,
        saving=1 - math.exp(difference),
        ci_low=1 - math.exp(difference + half),
        ci_high=1 - math.exp(difference - half),
        method="paired" if paired else "Welch",
        from_condition=dict(from_condition),
        to_condition=dict(to_condition),
        sessions_from=len(dear),
        sessions_to=len(cheap),
        n_from=n_from,
        n_to=n_to,
    )


def _half_width(samples: Sequence[np.ndarray]) -> float:
    """Return half the t interval of a mean, or of a difference of means (Welch-Satterthwaite)."""
    variances = [float(sample.var(ddof=1)) / len(sample) for sample in samples]
    total = sum(variances)
    if total == 0:
        return 0.0
    spread = sum(v**2 / (len(sample) - 1) for v, sample in zip(variances, samples, strict=True))
    df = total**2 / spread
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, df)) * math.sqrt(total)


def _medians(known: pd.DataFrame, condition: Mapping[str, object]) -> tuple[pd.Series, int]:
    """Return the median logarithm of each session of a condition, and the number of runs."""
    chosen = runs_of(known, condition)
    if chosen.empty:
        raise NotEnoughDataError(
            f"{condition_name(condition.values())} has no run whose session is known"
        )
    return chosen.groupby("session")["log"].median(), len(chosen)


def _with_sessions(runs: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return the runs that have a session and the value, with the session and the logarithm."""
    known = runs.assign(session=find_sessions(runs)).dropna(subset=["session", value])
    if known.empty:
        raise NotEnoughDataError("no run has a session or the time of its start")
    if not (known[value] > 0).all():
        raise NotEnoughDataError(f"sessions are compared by logarithms, and a {quantity(value)} "
                                 "is not above 0")  # fmt: skip
    return known.assign(log=np.log(known[value].astype(float)))


def _column(runs: pd.DataFrame, name: str) -> pd.Series:
    return runs[name] if name in runs else pd.Series(np.nan, index=runs.index)
