"""Omnibus tests of group differences by means and by ranks, with effect sizes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.oneway import anova_oneway

from greencv_core.analysis.comparison.pairwise import compared_pairs, holm
from greencv_core.analysis.result import ALPHA, NotEnoughDataError, Unavailable, Values, attempt
from greencv_core.utils.text import (
    as_opening,
    count,
    left_out_clause,
    listed,
    number,
    p_value,
    quantity,
)

FEWEST_FOR_MEANS = 5
"""Runs in a group. With fewer, Welch's test does not keep its level."""
_PAIRED = ["a", "b", "cliffs_delta", "dunn_p", "dunn_p_holm", "games_howell_p"]


@dataclass(frozen=True)
class Comparison:
    """A value compared between groups by means and by ranks.

    ``primary`` names the test that decides: ``welch`` if every group has at least five runs that
    are not all the same, else ``kruskal``. Normality is no criterion: if variances differ, the
    tests of Welch and of Games and Howell keep their level, and tests by ranks do not
    (``benchmarks/statistics.py``).
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
    """Effect size of the ranks: (H - k + 1) / (n - k) (Tomczak and Tomczak 2014)."""
    epsilon_squared: float
    """Effect size of the ranks: H / (n - 1) (Tomczak and Tomczak 2014)."""
    omega_squared: float
    """Effect size of the means: df1 (F - 1) / (df1 (F - 1) + n), with Welch's F (Hays 1963)."""
    pairs: pd.DataFrame
    """As :func:`greencv_core.analysis.comparison.pairwise.compared_pairs` returns them."""
    primary: str
    left_out: tuple[str, ...] = ()
    """Groups with fewer than two values."""
    family: int = 1
    """Number of comparisons that are adjusted together; see :func:`compare_each`."""
    family_p: float | None = None
    """Primary omnibus p, adjusted by Holm's method for the family."""

    @property
    def p(self) -> float:
        """P value of the primary omnibus test, adjusted if there is a family."""
        if self.family_p is not None:
            return self.family_p
        return self.kruskal_p if self.primary == "kruskal" else self.welch_p

    @property
    def significant(self) -> bool:
        """Whether the primary omnibus test rejects equality at 5 %."""
        return self.p < ALPHA

    @property
    def pairs_differing(self) -> int:
        """Number of pairs that differ at 5 % by the primary pairwise test."""
        column = "dunn_p_holm" if self.primary == "kruskal" else "games_howell_p"
        return int((self.pairs[column] < ALPHA).sum())

    def sentence(self) -> str:
        """Describe the tests, the effect size and the pairs; negative effect sizes read as 0."""
        k, n = len(self.groups), int(self.groups["n"].sum())
        by_ranks = self.primary == "kruskal"
        welch_p = self.welch_p if by_ranks else self.p
        kruskal_p = self.p if by_ranks else self.kruskal_p
        means = (
            f"Welch's F = {number(self.welch_f)}, {p_value(welch_p)}",
            f"omega squared = {max(0.0, self.omega_squared):.2f}",
        )
        ranks = (
            f"Kruskal-Wallis H = {number(self.kruskal_h)}, {p_value(kruskal_p)}",
            f"eta squared = {max(0.0, self.eta_squared):.2f}",
        )
        test, effect = ranks if by_ranks else means
        pairwise = "Dunn's test with Holm's correction" if by_ranks else "the Games-Howell test"
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
        if np.isfinite(self.welch_p if by_ranks else self.kruskal_p):
            agrees = (self.welch_p < ALPHA) == (self.kruskal_p < ALPHA)
            word = "means" if by_ranks else "ranks"
            other = ", ".join(means if by_ranks else ranks)
            text += f"; by {word} the answer is {'the same' if agrees else 'another'} ({other})"
        return text + left_out_clause(self.left_out, "fewer than 2 runs") + "."

    def assumptions(self) -> str:
        """Describe the checks of normality and of equal variances."""
        checked = self.groups["shapiro_p"].notna()
        odd = [str(g) for g in self.groups.loc[self.groups["shapiro_p"] < ALPHA, "group"]]
        if not checked.any():
            normal = "No group has the runs and the spread that a check of normality needs"
        elif odd:
            normal = (
                f"Not normal by the Shapiro-Wilk test at 5 %: {listed(odd)} "
                f"({len(odd)} of {count(int(checked.sum()), 'group')})"
            )
        else:
            normal = (
                "No group is shown not to be normal (Shapiro-Wilk, lowest "
                f"{p_value(float(self.groups['shapiro_p'].min()))})"
            )
        if np.isnan(self.levene_p):
            return f"{normal}; whether variances differ cannot be checked."
        differ = "differ" if self.levene_p < ALPHA else "are not shown to differ"
        return f"{normal}; variances {differ} (Brown-Forsythe, {p_value(self.levene_p)})."

    def table(self) -> pd.DataFrame:
        """Return the omnibus tests, one row each."""
        k, n = len(self.groups), int(self.groups["n"].sum())
        welch_df = f"{self.welch_df1:.0f}; {self.welch_df2:.1f}"
        rows = [
            ("Welch's ANOVA (means)", "F", self.welch_f, welch_df, self.welch_p),
            ("Kruskal-Wallis (ranks)", "H", self.kruskal_h, f"{k - 1}", self.kruskal_p),
            ("Brown-Forsythe (variances)", "W", self.levene_w, f"{k - 1}; {n - k}", self.levene_p),
        ]
        frame = pd.DataFrame(rows, columns=["test", "statistic", "value", "df", "p"])
        frame["effect_size"] = [
            f"omega squared {self.omega_squared:.3f}",
            f"eta squared {self.eta_squared:.3f}, epsilon squared {self.epsilon_squared:.3f}",
            None,
        ]
        frame["primary"] = [self.primary == "welch", self.primary == "kruskal", False]
        return frame


def compare(runs: pd.DataFrame, value: str, by: str, *, pairs: bool = True) -> Comparison:
    """Compare ``value`` between the groups of column ``by`` that have at least two values.

    Without ``pairs`` (which take long with many groups), the table of pairs is empty.
    """
    every = {
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
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        # Groups without spread make these tests divide by zero; the result is NaN.
        levene = stats.levene(*values, center="median")
        welch = anova_oneway(values, use_var="unequal")
        h, p = (0.0, 1.0) if constant else stats.kruskal(*values)
    between = float(welch.df[0]) * (float(welch.statistic) - 1)
    by_ranks = described["n"].min() < FEWEST_FOR_MEANS or described["sd"].min() == 0
    return Comparison(
        value=value,
        by=by,
        groups=described,
        # Two values are equally far from their median.
        levene_w=float(levene.statistic) if described["n"].min() > 2 else np.nan,
        levene_p=float(levene.pvalue) if described["n"].min() > 2 else np.nan,
        welch_f=float(welch.statistic),
        welch_df1=float(welch.df[0]),
        welch_df2=float(welch.df[1]),
        welch_p=float(welch.pvalue),
        kruskal_h=float(h),
        kruskal_p=float(p),
        eta_squared=float((h - k + 1) / (n - k)),
        epsilon_squared=float(h / (n - 1)),
        omega_squared=between / (between + n) if np.isfinite(between) else np.nan,
        pairs=compared_pairs(groups) if pairs else pd.DataFrame(columns=_PAIRED),
        primary="kruskal" if by_ranks else "welch",
        left_out=tuple(name for name in every if name not in groups),
    )


def compare_each(
    runs: pd.DataFrame, value: str, by: str, within: str, *, pairs: bool = True
) -> dict[str, Comparison | Unavailable]:
    """Compare groups within each level of another column, as one family.

    The omnibus tests, and Dunn's tests of all pairs of all levels, are adjusted by Holm's method;
    the Games-Howell tests, which are adjusted within a level already, by Bonferroni's for the
    number of levels (for two groups they equal the omnibus test and share its adjusted p).
    """
    every = {
        str(name): attempt(compare, part, value, by, pairs=pairs)
        for name, part in runs.groupby(within, sort=False, observed=True)
    }
    answered = {name: c for name, c in every.items() if isinstance(c, Comparison)}
    if len(answered) < 2:
        return every
    omnibus = holm([c.p for c in answered.values()])
    dunn = iter(holm(np.concatenate([c.pairs["dunn_p"] for c in answered.values()])))
    for (name, comparison), p in zip(answered.items(), omnibus, strict=True):
        table = comparison.pairs.assign(dunn_p_holm=[next(dunn) for _ in comparison.pairs.index])
        by_omnibus = len(table) == 1 and comparison.primary == "welch"
        games_howell = (table["games_howell_p"] * len(answered)).clip(upper=1.0)
        every[name] = replace(
            comparison,
            family=len(answered),
            family_p=p,
            pairs=table.assign(games_howell_p=p if by_omnibus else games_howell),
        )
    return every


def shapiro_wilk(values: Values) -> tuple[float, float]:
    """Return W and p of the test of normality; p is approximate above 5000 values."""
    with warnings.catch_warnings(action="ignore"):
        w, p = stats.shapiro(values)
    return float(w), float(p)


def _describe(name: str, values: Values) -> dict[str, object]:
    varied = len(values) >= 3 and np.ptp(values) > 0
    w, p = shapiro_wilk(values) if varied else (np.nan, np.nan)
    return {
        "group": name,
        "n": len(values),
        "median": np.median(values),
        "q1": np.quantile(values, 0.25),
        "q3": np.quantile(values, 0.75),
        "mean": values.mean(),
        "sd": values.std(ddof=1) if np.ptp(values) > 0 else 0.0,
        "shapiro_w": w,
        "shapiro_p": p,
    }
