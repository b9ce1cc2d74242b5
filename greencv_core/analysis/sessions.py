"""Sessions: runs without a long pause between them, and how much they differ.

Runs of one session share the machine's state, such as temperature, clocks and other programs. They
resemble each other more than runs of different sessions, and count for less than independent ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from greencv_core.analysis.result import NotEnoughDataError
from greencv_core.analysis.selection import CONDITION, condition_name, groups_but
from greencv_core.utils.text import count, left_out_clause, percent, quantity

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
    started = start_times(runs)
    unnamed = (named.isna() | (named == "")) & started.notna()
    named = named.where(named.notna() & (named != ""), None)
    duration = pd.to_timedelta(_column(runs, "duration_s").astype(float).fillna(0.0), unit="s")
    if not unnamed.any():
        return named.rename("session")
    for environment, rows in runs[unnamed].groupby("environment", observed=True).groups.items():
        starts = started.loc[rows].sort_values(kind="stable")
        ends = (starts + duration.loc[starts.index]).cummax()
        pauses_s = (starts - ends.shift()).dt.total_seconds()
        firsts = starts.where(pauses_s.isna() | (pauses_s > PAUSE_S)).ffill()
        named.loc[firsts.index] = [f"{environment} from {first.isoformat()}" for first in firsts]
    return named.rename("session")


def start_times(runs: pd.DataFrame) -> pd.Series:
    """Return when each run began; missing where it is unknown."""
    return pd.to_datetime(_column(runs, "started_at"), utc=True, errors="coerce", format="mixed")


@dataclass(frozen=True)
class SessionSpread:
    """Spread of a value between and within sessions."""

    value: str
    conditions: pd.DataFrame
    """architecture, environment, n, sessions, sd_between, sd_within (of natural logarithms) and
    icc, the intraclass correlation: the share of the variance that lies between sessions. NaN with
    one session, or without a session of two runs."""
    left_out: tuple[str, ...] = ()
    """Conditions without a run of a known session."""

    def sentence(self) -> str:
        """Describe in how many sessions the runs were made, and how much sessions differ."""
        text = self._answer().removesuffix(".")
        clause = left_out_clause(self.left_out, "no run of a known session")
        return f"{text}{clause}." if text else ""

    def _answer(self) -> str:
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
    groups = known[list(CONDITION)].itertuples(index=False)
    left_out = groups_but(runs, CONDITION, set(map(condition_name, groups)))
    return SessionSpread(value, pd.DataFrame(rows), left_out)


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
