"""Do groups differ, which ones, and by how much: tests with their effect sizes."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scikit_posthocs
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multicomp import pairwise_tukeyhsd
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.oneway import anova_oneway

from greencv_core.analysis.attempt import NotEnoughDataError, Unanswered, attempt
from greencv_core.analysis.wording import (
    as_opening,
    count,
    left_out_clause,
    number,
    p_value,
    quantity,
)

ALPHA = 0.05
FEWEST_FOR_MEANS = 8
"""With fewer runs in a group, normality cannot be checked and ranks are the primary answer."""

Groups = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Comparison:
    """A value compared between groups, by ranks and by means.

    ``primary`` names the one that answers: ranks (``kruskal``) if a group has fewer than eight
    runs or fails Shapiro-Wilk at 5 %, means (``welch``) else. Both are always given.
    """

    value: str
    by: str
    groups: pd.DataFrame
    """group, n, median, q1, q3, mean, sd, shapiro_w, shapiro_p."""
    levene_w: float
    levene_p: float
    """Brown-Forsythe: Levene's test about the medians."""
    welch_f: float
    welch_df1: float
    welch_df2: float
    welch_p: float
    kruskal_h: float
    kruskal_p: float
    eta_squared: float
    """Of the ranks: (H - k + 1) / (n - k) (Tomczak and Tomczak 2014)."""
    omega_squared: float
    """Of the means: df1 (F - 1) / (df1 (F - 1) + n), F being Welch's (Hays 1963)."""
    pairs: pd.DataFrame
    """a, b, n_a, n_b, median_a, median_b, dunn_p, dunn_p_holm, games_howell_p, cliffs_delta,
    cliffs_magnitude, hodges_lehmann_shift (of b against a)."""
    primary: str
    left_out: tuple[str, ...] = ()
    """Groups with fewer than two values."""
    family: int = 1
    """Comparisons that answer one question together; see :func:`compare_each`."""
    family_p: float | None = None
    """The primary omnibus p, adjusted by Holm's method for the family."""

    @property
    def p(self) -> float:
        """The primary omnibus test's p value, adjusted where there is a family."""
        if self.family_p is not None:
            return self.family_p
        return self.kruskal_p if self.primary == "kruskal" else self.welch_p

    @property
    def significant(self) -> bool:
        """Whether the primary omnibus test rejects equality at 5 %."""
        return self.p < ALPHA

    @property
    def pairs_differing(self) -> int:
        """Pairs that the primary pairwise test tells apart at 5 %."""
        column = "dunn_p_holm" if self.primary == "kruskal" else "games_howell_p"
        return int((self.pairs[column] < ALPHA).sum())

    def sentence(self) -> str:
        """Say whether the groups differ, how strongly, and how many pairs do.

        An effect size below zero, which both formulas allow, reads as none.
        """
        k, n = len(self.groups), int(self.groups["n"].sum())
        if self.primary == "kruskal":
            test = f"Kruskal-Wallis H = {number(self.kruskal_h)}, {p_value(self.p)}"
            effect = f"eta squared = {max(0.0, self.eta_squared):.2f}"
            pairwise = "Dunn's test with Holm's correction"
        else:
            test = f"Welch's F = {number(self.welch_f)}, {p_value(self.p)}"
            effect = f"omega squared = {max(0.0, self.omega_squared):.2f}"
            pairwise = "the Games-Howell test"
        if self.family_p is not None:
            test += f" by Holm's method for {self.family} comparisons"
        verdict = "differs" if self.significant else "is not shown to differ"
        text = (
            f"{as_opening(quantity(self.value))} {verdict} between the {k} {self.by}s "
            f"({test}, {effect}, n = {n})"
        )
        if k > 2:
            apart = int((self.pairs["cliffs_delta"].abs() == 1).sum())
            text += (
                f"; {pairwise} tells {self.pairs_differing} of "
                f"{count(len(self.pairs), 'pair')} apart, and the values of {apart} do not overlap"
            )
        return text + left_out_clause(self.left_out, "fewer than 2 runs") + "."

    def table(self) -> pd.DataFrame:
        """Return the omnibus tests, one row each."""
        k, n = len(self.groups), int(self.groups["n"].sum())
        rows = [
            ("Kruskal-Wallis (ranks)", "H", self.kruskal_h, f"{k - 1}", self.kruskal_p),
            (
                "Welch's ANOVA (means)",
                "F",
                self.welch_f,
                f"{self.welch_df1:.0f}; {self.welch_df2:.1f}",
                self.welch_p,
            ),
            ("Brown-Forsythe (variances)", "W", self.levene_w, f"{k - 1}; {n - k}", self.levene_p),
        ]
        frame = pd.DataFrame(rows, columns=["test", "statistic", "value", "df", "p"])
        frame["effect_size"] = [
            f"eta squared {self.eta_squared:.3f}",
            f"omega squared {self.omega_squared:.3f}",
            None,
        ]
        frame["primary"] = [self.primary == "kruskal", self.primary == "welch", False]
        return frame


def compare(runs: pd.DataFrame, value: str, by: str) -> Comparison:
    """Compare ``value`` between the groups of column ``by`` that have at least two values.

    Raises
    ------
    NotEnoughDataError
        There are fewer than two such groups.
    """
    every: Groups = {
        str(name): part[value].dropna().to_numpy(dtype=float)
        for name, part in runs.groupby(by, sort=False, observed=True)
    }
    groups = {name: values for name, values in every.items() if len(values) >= 2}
    if len(groups) < 2:
        raise NotEnoughDataError(
            f"a comparison of {quantity(value)} needs at least 2 {by}s of at least 2 runs each, "
            f"and there {'is' if len(groups) == 1 else 'are'} {len(groups)}"
        )
    values = list(groups.values())
    described = pd.DataFrame([_describe(name, v) for name, v in groups.items()])
    n, k = sum(map(len, values)), len(values)
    constant = np.ptp(np.concatenate(values)) == 0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # A group without any spread makes these tests divide by zero; the result is then NaN.
        warnings.simplefilter("ignore")
        levene = stats.levene(*values, center="median")
        welch = anova_oneway(values, use_var="unequal")
        h, p = (0.0, 1.0) if constant else stats.kruskal(*values)
    by_ranks = described["n"].min() < FEWEST_FOR_MEANS or bool(
        (described["shapiro_p"].fillna(0) < ALPHA).any()
    )
    return Comparison(
        value=value,
        by=by,
        groups=described,
        # Of two values both lie equally far from their median: there is nothing to compare.
        levene_w=float(levene.statistic) if described["n"].min() > 2 else np.nan,
        levene_p=float(levene.pvalue) if described["n"].min() > 2 else np.nan,
        welch_f=float(welch.statistic),
        welch_df1=float(welch.df[0]),
        welch_df2=float(welch.df[1]),
        welch_p=float(welch.pvalue),
        kruskal_h=float(h),
        kruskal_p=float(p),
        eta_squared=float((h - k + 1) / (n - k)),
        omega_squared=_omega_squared(float(welch.statistic), float(welch.df[0]), n),
        pairs=_pairs(groups, constant=bool(constant)),
        primary="kruskal" if by_ranks else "welch",
        left_out=tuple(name for name in every if name not in groups),
    )


def compare_each(
    runs: pd.DataFrame, value: str, by: str, within: str
) -> dict[str, Comparison | Unanswered]:
    """Compare groups within each level of another column, as one family.

    The omnibus tests, and Dunn's tests over all pairs of all levels, are adjusted together by
    Holm's method: with one test a level, some would else reject by chance.
    """
    every = {
        str(name): attempt(compare, part, value, by)
        for name, part in runs.groupby(within, sort=False, observed=True)
    }
    answered = {name: c for name, c in every.items() if isinstance(c, Comparison)}
    if len(answered) < 2:
        return every
    omnibus = holm([c.p for c in answered.values()])
    dunn = iter(holm(np.concatenate([c.pairs["dunn_p"] for c in answered.values()])))
    for (name, comparison), p in zip(answered.items(), omnibus, strict=True):
        adjusted = [next(dunn) for _ in comparison.pairs.index]
        every[name] = replace(
            comparison,
            family=len(answered),
            family_p=p,
            pairs=comparison.pairs.assign(dunn_p_holm=adjusted),
        )
    return every


def holm(p: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """Return p values adjusted by Holm's method; what is not defined stays so."""
    values = np.asarray(p, dtype=float)
    defined = np.isfinite(values)
    if defined.any():
        values = values.copy()
        values[defined] = multipletests(values[defined], method="holm")[1]
    return [float(value) for value in values]


def cliffs_delta(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return Cliff's delta: how much more often a value of ``a`` exceeds one of ``b`` than not.

    From Mann-Whitney's U: 2 U / (n_a n_b) - 1 (Cliff 1993).
    """
    u = stats.mannwhitneyu(a, b).statistic
    return float(2 * u / (len(a) * len(b)) - 1)


def _omega_squared(f: float, df1: float, n: int) -> float:
    between = df1 * (f - 1)
    return between / (between + n) if np.isfinite(f) else np.nan


def _magnitude(delta: float) -> str:
    # Thresholds of Romano et al. (2006), as the original study uses them.
    size = abs(delta)
    for limit, word in ((0.147, "negligible"), (0.33, "small"), (0.474, "medium")):
        if size < limit:
            return word
    return "large"


def _describe(name: str, values: NDArray[np.float64]) -> dict[str, object]:
    varied = len(values) >= 3 and np.ptp(values) > 0
    w, p = stats.shapiro(values) if varied else (np.nan, np.nan)
    return {
        "group": name,
        "n": len(values),
        "median": np.median(values),
        "q1": np.quantile(values, 0.25),
        "q3": np.quantile(values, 0.75),
        "mean": values.mean(),
        "sd": values.std(ddof=1),
        "shapiro_w": float(w),
        "shapiro_p": float(p),
    }


def _pairs(groups: Groups, *, constant: bool) -> pd.DataFrame:
    names = list(groups)
    labels = np.concatenate([[name] * len(values) for name, values in groups.items()])
    values = np.concatenate(list(groups.values()))
    if constant:
        dunn = pd.DataFrame(1.0, index=names, columns=names)
    else:
        dunn = scikit_posthocs.posthoc_dunn(list(groups.values()))
        dunn.index = dunn.columns = pd.Index(names)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tukey = pairwise_tukeyhsd(values, labels, use_var="unequal")
    order = list(tukey.groupsunique)
    games_howell = {
        frozenset((order[i], order[j])): p
        for (i, j), p in zip(
            itertools.combinations(range(len(order)), 2), np.atleast_1d(tukey.pvalues), strict=True
        )
    }
    rows = []
    for a, b in itertools.combinations(names, 2):
        delta = cliffs_delta(groups[a], groups[b])
        rows.append(
            {
                "a": a,
                "b": b,
                "n_a": len(groups[a]),
                "n_b": len(groups[b]),
                "median_a": np.median(groups[a]),
                "median_b": np.median(groups[b]),
                "dunn_p": float(dunn.loc[a, b]),
                "games_howell_p": float(games_howell[frozenset((a, b))]),
                "cliffs_delta": delta,
                "cliffs_magnitude": _magnitude(delta),
                "hodges_lehmann_shift": float(np.median(np.subtract.outer(groups[b], groups[a]))),
            }
        )
    frame = pd.DataFrame(rows)
    frame.insert(frame.columns.get_loc("games_howell_p"), "dunn_p_holm", holm(frame["dunn_p"]))
    return frame
