"""Two-way analysis of architecture and environment."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis.comparison.pairwise import holm
from greencv_core.analysis.result import ALPHA, NotEnoughDataError, Values
from greencv_core.analysis.units import Contrast, contrast, log_units, mark_units
from greencv_core.utils.text import count, left_out_clause, listed, number, p_value

FEWEST_FOR_WELCH_JAMES = 3
"""Runs in each condition; with two, a variance has one degree of freedom."""
_ARCHITECTURE, _ENVIRONMENT, _BOTH = "architecture", "environment", "architecture x environment"


class HeteroscedasticTest(NamedTuple):
    """F test with a variance for each group."""

    f: float
    df1: float
    df2: float
    p: float


@dataclass(frozen=True)
class Interaction:
    """Two-way analysis of log10 energy per image: architecture x environment."""

    n: int
    anova: pd.DataFrame
    """term, f, df1, df2, p (Welch-James), partial_eta_squared and sum_sq (Type II, equal
    variances), aligned_f and aligned_p (aligned ranks). They decide nothing: with a few runs of
    many conditions they reject too often."""
    effects: pd.DataFrame
    """Simple effects, of each pair of environments: architecture, environment, reference, n, ratio
    (of geometric means), ci_low, ci_high (95% for all rows at once), p (t test of logarithms) and
    p_holm (over all rows)."""
    p: float
    """P value of the interaction: the lowest of the t tests of whether two architectures have the
    same ratio, by Holm's method."""
    left_out: tuple[str, ...] = ()
    """Architectures that were not trained in every environment."""

    @property
    def environment_p(self) -> float:
        """Lowest p value of the simple effects, adjusted."""
        return float(self.effects["p_holm"].min())

    @property
    def sure(self) -> pd.DataFrame:
        """The simple effects that are shown to differ from a ratio of 1."""
        return self.effects[self.effects["p_holm"] < ALPHA]

    def environment_sentence(self) -> str:
        """Describe whether the environments differ, for how many architectures."""
        by = (
            f"t tests of logarithms, lowest {p_value(self.environment_p)} by Holm's "
            f"method for {len(self.effects)}"
        )
        if self.sure.empty:
            return (
                "The data show no difference in energy per image between the training "
                f"environments for any architecture ({by})."
            )
        return (
            f"Energy per image differs between the training environments for {self.shown()} ({by})."
        )

    def shown(self) -> str:
        """Return of how many comparisons a difference is shown: ``3 of 5 architectures``."""
        pairs = len(self.effects[["environment", "reference"]].drop_duplicates())
        unit = f" in {pairs} pairs of environments" if pairs > 1 else ""
        return f"{len(self.sure)} of {count(len(self.effects), 'architecture')}{unit}"

    def sentence(self) -> str:
        """Describe whether the ratio depends on the architecture, and its range."""
        depends = (
            "The effect of the environment on energy per image depends on the architecture"
            if self.p < ALPHA
            else "The data do not show that the environment's effect depends on the architecture"
        )
        parts = []
        pairs = self.effects.groupby(["environment", "reference"], sort=False)
        for (environment, reference), part in pairs:
            low, high = (part.loc[part["ratio"].agg(end)] for end in ("idxmin", "idxmax"))
            parts.append(
                f"on {environment} is {_times(low)} to {_times(high)} times that on {reference}"
            )
        return (
            f"{depends} (t tests of the ratios of two architectures, lowest {p_value(self.p)} by "
            f"Holm's method, n = {self.n}). Energy {listed(parts)} (simultaneous 95% "
            f"intervals){left_out_clause(self.left_out, 'too few runs in some conditions')}."
        )

    def effects_sentence(self) -> str:
        """Say for which architectures an environment takes more or less than the reference."""
        parts = []
        for (environment, reference), part in self.effects.groupby(
            ["environment", "reference"], sort=False
        ):
            sure = part["p_holm"] < ALPHA
            answers = {
                "more energy for": sure & (part["ratio"] > 1),
                "less energy for": sure & (part["ratio"] < 1),
                "no clear difference for": ~sure,
            }
            phrases = [
                f"{answer} {listed(list(part.loc[chosen, 'architecture']))}"
                for answer, chosen in answers.items()
                if chosen.any()
            ]
            parts.append(f"On {environment} instead of {reference}: {', '.join(phrases)}")
        return f"{'; '.join(parts)} (t tests of logarithms, Holm's correction)."


def _times(effect: pd.Series) -> str:
    low, high = number(effect["ci_low"]), number(effect["ci_high"])
    return f"{number(effect['ratio'])} ({effect['architecture']}, {low} to {high})"


def architecture_by_environment(runs: pd.DataFrame) -> Interaction:
    """Analyse energy per image by architecture and environment, on the scale of ratios.

    If conditions have too few runs, the
    architecture or environment with the largest share of such conditions is left out, until none
    is incomplete.
    """
    runs = mark_units(runs)
    kept = _complete_table(runs[runs["energy_j_per_image"] > 0])
    incomplete = [
        str(name)
        for column in (_ARCHITECTURE, _ENVIRONMENT)
        for name in runs[column].unique()
        if name not in set(kept[column])
    ]
    runs = kept
    environments = list(runs["environment"].unique())
    if len(environments) < 2:
        raise NotEnoughDataError(
            "there is none to analyse"
            if runs.empty
            else "they come from one environment: there is nothing to compare"
        )
    trained_in = runs.groupby("architecture", sort=False, observed=True)["environment"].nunique()
    complexity = runs.groupby("architecture", observed=True)["gflops_per_image"].median()
    everywhere = trained_in.index[trained_in == len(environments)]
    complete = [str(name) for name in complexity[everywhere].sort_values(kind="stable").index]
    if len(complete) < 2:
        raise NotEnoughDataError(
            "an interaction needs at least 2 architectures trained in every environment, and there "
            f"{'is' if len(complete) == 1 else 'are'} {len(complete)}"
        )
    left_out = (*incomplete, *(str(name) for name in trained_in.index if name not in complete))
    runs = runs[runs["architecture"].isin(complete)]
    data = pd.DataFrame(
        {
            "value": np.log10(runs["energy_j_per_image"].to_numpy(dtype=float)),
            "a": runs["architecture"].astype(str).to_numpy(),
            "b": runs["environment"].astype(str).to_numpy(),
        }
    )
    cells = [
        [data.loc[(data["a"] == a) & (data["b"] == b), "value"].to_numpy() for b in environments]
        for a in complete
    ]
    _check(cells, complete, environments)
    contrasts = _contrasts(runs, complete, environments)
    return Interaction(
        n=len(runs),
        anova=_analysis_of_variance(data, cells),
        effects=_simple_effects(contrasts, cells, complete, environments),
        p=_interaction_p(contrasts),
        left_out=left_out,
    )


def _complete_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the largest complete table of conditions; all if there is none."""
    names = [_ARCHITECTURE, _ENVIRONMENT]
    counts = runs.groupby(names, sort=False, observed=True).size().unstack(fill_value=0)
    while (short := counts < FEWEST_FOR_WELCH_JAMES).any(axis=None):
        of_rows, of_columns = short.mean(axis="columns"), short.mean(axis="index")
        if of_rows.max() >= of_columns.max():
            counts = counts.drop(index=of_rows.idxmax())
        else:
            counts = counts.drop(columns=of_columns.idxmax())
    if min(counts.shape) < 2:
        return runs
    return runs[runs[_ARCHITECTURE].isin(counts.index) & runs[_ENVIRONMENT].isin(counts.columns)]


def welch_james(
    means: Values, variances: Values, counts: Values, contrasts: Values
) -> HeteroscedasticTest:
    """Test that contrasts of group means are 0, with a variance for each group.

    Johansen's (1980) approximation, of which Welch's analysis of variance is the one-way case. The
    contrasts, shape (contrasts, groups), are linearly independent.
    """
    of_means = variances / counts
    inverse = np.linalg.inv(contrasts * of_means @ contrasts.T)
    difference = contrasts @ means
    statistic = float(difference @ inverse @ difference)
    rank = len(contrasts)
    share = np.einsum("g,rg,rq,qg->g", of_means, contrasts, inverse, contrasts)
    a = float((share**2 / (counts - 1)).sum())
    scale = rank + 2 * a - 6 * a / (rank + 2)
    df2 = rank * (rank + 2) / (3 * a)
    f = statistic / scale
    return HeteroscedasticTest(f, float(rank), df2, float(stats.f.sf(f, rank, df2)))


def aligned_ranks_anova(data: pd.DataFrame) -> pd.DataFrame:
    """Return the analysis of variance of aligned ranks (Higgins et al. 1990, Wobbrock et al. 2011).

    For each effect, the values without all other effects are ranked and analysed (Type III,
    contrasts that sum to zero). ``data`` has columns value, a and b (levels of the two factors),
    the result term (a, b, a x b), f, df1, df2 and p.
    """
    cell = data.groupby(["a", "b"])["value"].transform("mean")
    of_a, of_b = (data.groupby(factor)["value"].transform("mean") for factor in ("a", "b"))
    overall = data["value"].mean()
    effects = {"a": of_a - overall, "b": of_b - overall, "a x b": cell - of_a - of_b + overall}
    rows = []
    for term, effect in effects.items():
        # Rounded so that values that differ by rounding errors tie.
        aligned = (data["value"] - cell + effect).round(12)
        squares = SumsOfSquares(data.assign(value=stats.rankdata(aligned)))
        df1, df2 = squares.degrees[term], squares.residual_df
        f = squares.without(term) / df1 / (squares.residual / df2)
        rows.append({"term": term, "f": f, "df1": df1, "df2": df2, "p": stats.f.sf(f, df1, df2)})
    return pd.DataFrame(rows)


class SumsOfSquares:
    """Sums of squares of a two-way table, from the means of its cells: rows may be many.

    ``data`` has columns value, a and b; no cell is empty.
    """

    def __init__(self, data: pd.DataFrame) -> None:
        grouped = data.groupby(["a", "b"], sort=False)["value"]
        cells = grouped.agg(["size", "mean"]).reset_index()
        self._root_n = np.sqrt(cells["size"].to_numpy(dtype=float))
        self._mean = cells["mean"].to_numpy()
        a, b = (_sum_coded(cells[factor]) for factor in ("a", "b"))
        both = (a[:, :, None] * b[:, None, :]).reshape(len(cells), -1)
        self._columns = {"a": a, "b": b, "a x b": both}
        self.degrees = {term: float(columns.shape[1]) for term, columns in self._columns.items()}
        self.residual = float(((data["value"] - grouped.transform("mean")) ** 2).sum())
        """Sum of squares within the cells."""
        self.residual_df = float(len(data) - len(cells))

    def without(self, term: str) -> float:
        """Return what a term explains in addition to all others (Type III)."""
        return self._left_by(*(name for name in self._columns if name != term))

    def hierarchical(self, term: str) -> float:
        """Return what a term explains in addition to those that do not contain it (Type II)."""
        others = [name for name in ("a", "b") if name != term]
        return self._left_by(*others) - self._left_by(*others, term)

    def _left_by(self, *terms: str) -> float:
        """Return the sum of squares of the cells' means about a model of some terms."""
        ones = np.ones((len(self._mean), 1))
        design = np.hstack([ones, *(self._columns[term] for term in terms)])
        design, means = design * self._root_n[:, None], self._mean * self._root_n
        left = means - design @ np.linalg.lstsq(design, means)[0]
        return float(left @ left)


def _sum_coded(levels: pd.Series) -> Values:
    """Return a factor's columns, coded by contrasts that sum to zero."""
    codes, names = pd.factorize(levels)
    coded: Values = np.vstack([np.eye(len(names) - 1), -np.ones(len(names) - 1)])[codes]
    return coded


def _check(cells: list[list[Values]], architectures: list[str], environments: list[str]) -> None:
    for (i, a), (j, b) in itertools.product(enumerate(architectures), enumerate(environments)):
        if len(cells[i][j]) < FEWEST_FOR_WELCH_JAMES:
            raise NotEnoughDataError(
                f"an interaction needs repetitions, at least {FEWEST_FOR_WELCH_JAMES} of each "
                f"condition, and {a} @ {b} has {len(cells[i][j])}"
            )
        if np.ptp(cells[i][j]) == 0:
            raise NotEnoughDataError(
                f"all runs of {a} @ {b} took the same energy: there is no spread to test against"
            )


def _analysis_of_variance(data: pd.DataFrame, cells: list[list[Values]]) -> pd.DataFrame:
    every = [values for row in cells for values in row]
    means = np.array([values.mean() for values in every])
    variances = np.array([values.var(ddof=1) for values in every])
    counts = np.array([float(len(values)) for values in every])
    one, other = (np.ones((1, k)) / k for k in (len(cells), len(cells[0])))
    between_a, between_b = (_differences(k) for k in (len(cells), len(cells[0])))
    terms: tuple[tuple[str, str, Any], ...] = (
        (_ARCHITECTURE, "a", np.kron(between_a, other)),
        (_ENVIRONMENT, "b", np.kron(one, between_b)),
        (_BOTH, "a x b", np.kron(between_a, between_b)),
    )
    squares = SumsOfSquares(data)
    aligned = aligned_ranks_anova(data).set_index("term")
    rows = []
    for term, name, weights in terms:
        test = welch_james(means, variances, counts, weights)
        explained = squares.hierarchical(name)
        rows.append(
            {
                "term": term,
                **test._asdict(),
                "sum_sq": explained,
                "partial_eta_squared": explained / (explained + squares.residual),
                "aligned_f": float(aligned.loc[name, "f"]),
                "aligned_p": float(aligned.loc[name, "p"]),
            }
        )
    return pd.DataFrame(rows)


def _contrasts(
    runs: pd.DataFrame, architectures: list[str], environments: list[str]
) -> list[list[Contrast]]:
    """Return each pair of environments, of logarithms: a row for each architecture."""
    rows = []
    for name in architectures:
        of_one = runs[runs[_ARCHITECTURE] == name]
        each = [
            log_units(of_one[of_one[_ENVIRONMENT] == environment], "energy_j_per_image")
            for environment in environments
        ]
        rows.append([contrast(*pair) for pair in itertools.combinations(each, 2)])
    return rows


def _simple_effects(
    contrasts: list[list[Contrast]],
    cells: list[list[Values]],
    architectures: list[str],
    environments: list[str],
) -> pd.DataFrame:
    rows = []
    tests = sum(map(len, contrasts))
    pairs = itertools.combinations(range(len(environments)), 2)
    for (place, (j, k)), (i, architecture) in itertools.product(
        enumerate(pairs), enumerate(architectures)
    ):
        result = contrasts[i][place]
        low, high = result.interval(comparisons=tests)
        rows.append(
            {
                "architecture": architecture,
                "environment": environments[k],
                "reference": environments[j],
                "n": len(cells[i][j]) + len(cells[i][k]),
                "ratio": math.exp(result.estimate),
                "ci_low": math.exp(low),
                "ci_high": math.exp(high),
                "p": result.p,
            }
        )
    frame = pd.DataFrame(rows)
    return frame.assign(p_holm=holm(frame["p"]))


def _interaction_p(contrasts: list[list[Contrast]]) -> float:
    """Return the lowest p value, by Holm's method, of equal ratios of two architectures."""
    p = []
    for of_environment in zip(*contrasts, strict=True):
        for a, b in itertools.combinations(of_environment, 2):
            if not (a.se > 0 and b.se > 0):
                continue
            of_a, of_b = a.se**2, b.se**2
            df = (of_a + of_b) ** 2 / (of_a**2 / a.df + of_b**2 / b.df)
            # As in units.contrast: much data of one lend no degrees of freedom to the other.
            df = min(df, 2 * min(a.df, b.df))
            t = abs(a.estimate - b.estimate) / math.sqrt(of_a + of_b)
            p.append(float(2 * stats.t.sf(t, df)))
    return min(holm(p), default=math.nan)


def _differences(levels: int) -> Values:
    return np.hstack([np.ones((levels - 1, 1)), -np.eye(levels - 1)])
