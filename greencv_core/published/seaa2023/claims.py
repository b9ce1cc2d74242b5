"""Every published figure, beside the recomputed one.

``claims.csv`` is the one table of the paper's figures: here they are recomputed, and
:mod:`~greencv_core.published.seaa2023.verdicts` and
:mod:`~greencv_core.published.claims` quote them.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources

import numpy as np
import pandas as pd
from scipy import stats

from greencv_core.analysis import Comparison
from greencv_core.published.seaa2023.reanalysis import RQ1_ENVIRONMENT, SMALLER_GPU, Reanalysis
from greencv_core.published.seaa2023.runs import CONDITION, IMAGES_PER_EPOCH, NAME
from greencv_core.utils.energy import J_PER_KWH

RELATIVE_TOLERANCE = 1e-6
P_TOLERANCE = 1e-3
NEGLIGIBLE_P = 1e-15
"""Two p values below this agree."""
ROUNDING_P = 1e-13
"""A p value of the Games-Howell test is 1 minus a probability: below this it is rounding error."""
CORRELATED = {
    "energy": "energy_j_per_image",
    "utilization": "device_utilization_pct",
    "gflops": "gflops_per_image",
    "f1": "f1",
    "temperature": "temperature_c",
}
_MEDIANS = (
    "energy_j_per_image",
    "duration_ms_per_image",
    "f1",
    "temperature_c",
    "power_w",
    "epochs",
)
SOURCES = ("printed", "in_figure", "from_data")
_AT_MOST = "<="

Value = float | str
Figures = Iterator[tuple[str, Value]]


@cache
def read_claims() -> tuple[dict[str, str], ...]:
    """Return the paper's figures: part, claim, published, source, besides and corrected.

    Sources are ``printed`` (by the paper or its package), ``in_figure`` (of the paper, labels of
    two decimals) and ``from_data`` (computed from the published data earlier, without this
    package). ``besides`` names a run that the original removed elsewhere but kept for this figure.
    ``corrected`` is the figure with every correction that leaves energy gross, where it is quoted.
    """
    text = resources.files(__package__).joinpath("claims.csv").read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines(), restval=""))


def printed(part: str, claim: str, column: str = "published") -> float:
    """Return a figure that the paper or its package prints."""
    [text] = [
        row[column]
        for row in read_claims()
        if (row["part"], row["claim"], row["source"]) == (part, claim, "printed")
    ]
    return float(text)


def quote_test(name: str, column: str = "published") -> str:
    """Return the figures of a printed test: ``H = 127.05, eta squared 0.911``."""
    h, eta_squared = (
        printed("tests", f"{name}/{figure}", column) for figure in ("kruskal_h", "eta_squared")
    )
    return f"H = {h:.2f}, eta squared {eta_squared:.3f}"


def quote_correlation(a: str, b: str, column: str = "published") -> str:
    """Return a printed rank correlation: ``Local ML 0.968, Cloud 0.835``."""
    return ", ".join(
        f"{name} {printed('correlations', f'{a}-{b}/{name}', column):.3f}"
        for name in (SMALLER_GPU, RQ1_ENVIRONMENT)
    )


def claims_table(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return each published figure beside the recomputed one.

    Columns are part, claim, published, source, recomputed, difference, agrees and besides; see
    :func:`read_claims`.

    A figure agrees if it rounds to the digits that were printed, or differs by less than 1e-6; a p
    value if it differs by less than 0.1%, or if both are only rounding error.
    """
    answers: dict[tuple[str, str], dict[str, Value]] = {}
    rows = []
    for claim in read_claims():
        key = claim["part"], claim["besides"]
        if key not in answers:
            answers[key] = dict(_PARTS[claim["part"]](_put_back(reanalysis, claim["besides"])))
        found = answers[key].get(claim["claim"])
        rows.append({**claim, "recomputed": found, **compare_with_published(claim, found)})
    columns = [
        "part", "claim", "published", "source", "recomputed", "difference", "agrees", "besides",
    ]  # fmt: skip
    return pd.DataFrame(rows)[columns]


def claims_summary(claims: pd.DataFrame) -> pd.DataFrame:
    """Count the figures of each part, by source, and those that agree.

    ``with_a_run_put_back`` counts those that agree only with such a run.
    """
    counted = claims.assign(
        **{name: claims["source"] == name for name in SOURCES},
        figures=1,
        agreeing=claims["agrees"],
        with_a_run_put_back=claims["agrees"] & (claims["besides"] != ""),
    )
    columns = [*SOURCES, "figures", "agreeing", "with_a_run_put_back"]
    return counted.groupby("part", sort=False)[columns].sum().reset_index()


def _put_back(reanalysis: Reanalysis, besides: str) -> Reanalysis:
    """Return the re-analysis with a run that the original removed elsewhere."""
    if not besides:
        return reanalysis
    table = reanalysis.table.copy()
    table.loc[table["run_id"] == f"{NAME}/{besides}", "removed_by_hand"] = False
    return replace(reanalysis, table=table)


def compare_with_published(claim: Mapping[str, str], found: Value | None) -> dict[str, object]:
    """Return difference and agrees, from a claim (its name and published text) and our value."""
    text = claim["published"]
    if found is None or isinstance(found, str):
        return {"difference": math.nan, "agrees": found == text}
    if text.startswith(_AT_MOST):
        bound = float(text.removeprefix(_AT_MOST))
        return {"difference": math.nan, "agrees": found <= max(bound, ROUNDING_P)}
    published = float(text)
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(exponent or 0) - decimals)
    difference = found - published
    agrees = abs(difference) <= max(0.5 * unit * (1 + 1e-6), RELATIVE_TOLERANCE * abs(published))
    if any(part == "p" or part.endswith("_p") for part in claim["claim"].split("/")):
        near = abs(difference) <= P_TOLERANCE * published
        agrees = agrees or near or max(found, published) < NEGLIGIBLE_P
    return {"difference": difference, "agrees": bool(agrees)}


def _totals(reanalysis: Reanalysis) -> Figures:
    runs = reanalysis.every_run
    ratio = runs["emissions_gco2e"] / (runs["energy_j"] / J_PER_KWH)
    yield "gco2e_per_kwh", float(ratio.median())
    yield "images_per_epoch", float((runs["images_processed"] / runs["epochs"]).median())
    yield "runs", float(len(runs))
    yield "runs_kept", float(len(reanalysis.runs()))
    yield "energy_kwh", float(runs["energy_j"].sum() / J_PER_KWH)
    yield "duration_h", float(runs["duration_s"].sum() / 3600)


def _medians(reanalysis: Reanalysis) -> Figures:
    everything = reanalysis.medians("none").set_index(CONDITION)
    for row in reanalysis.medians().to_dict("records"):
        condition = f"{row['environment']}/{row['architecture']}"
        every = everything.loc[(row["environment"], row["architecture"])]
        yield f"{condition}/n", float(row["n"])
        for column in _MEDIANS:
            yield f"{condition}/{column}", row[column]
        yield f"{condition}/utilization_pct", row["device_utilization_pct"]
        yield f"{condition}/duration_h", row["duration_s"] / 3600
        yield f"{condition}/energy_j_per_image_all_runs", float(every["energy_j_per_image"])
        yield f"{condition}/n_all_runs", float(every["n"])


def _tests(tests: Mapping[str, Comparison]) -> Figures:
    for name, comparison in tests.items():
        for group in comparison.groups.to_dict("records"):
            yield f"{name}/shapiro_w/{group['group']}", group["shapiro_w"]
            yield f"{name}/shapiro_p/{group['group']}", group["shapiro_p"]
        for figure in ("levene_w", "levene_p", "welch_f", "welch_df2", "welch_p", "kruskal_h",
                       "kruskal_p", "eta_squared"):  # fmt: skip
            yield f"{name}/{figure}", getattr(comparison, figure)
        yield f"{name}/partial_eta_squared", _partial_eta_squared(comparison.groups)


def _partial_eta_squared(groups: pd.DataFrame) -> float:
    """Return the share of the sum of squares that lies between the groups."""
    n, mean = groups["n"], groups["mean"]
    between = (n * (mean - (n * mean).sum() / n.sum()) ** 2).sum()
    within = ((n - 1) * groups["sd"] ** 2).sum()
    return float(between / (between + within))


def _pairs(tests: Mapping[str, Comparison]) -> Figures:
    for name, comparison in tests.items():
        yield f"{name}/dunn_not_significant", _not_significant(comparison)
        p = comparison.pairs["games_howell_p"].sort_values()
        yield f"{name}/games_howell_largest_p", float(p.iloc[-1])
        yield f"{name}/games_howell_p_of_the_others", float(p.iloc[-2])
        groups = comparison.groups.set_index("group")
        for group in groups.index:
            yield f"{name}/mean/{group}", float(groups.loc[group, "mean"])
        for pair in comparison.pairs.to_dict("records"):
            for a, b, sign in ((pair["a"], pair["b"], 1), (pair["b"], pair["a"], -1)):
                t, df = _welch(groups.loc[a], groups.loc[b])
                yield f"{name}/dunn_p/{a}-{b}", pair["dunn_p_holm"]
                yield f"{name}/cliffs_delta/{a}-{b}", sign * pair["cliffs_delta"]
                yield f"{name}/cliffs_magnitude/{a}-{b}", pair["cliffs_magnitude"]
                yield f"{name}/games_howell_p/{a}-{b}", pair["games_howell_p"]
                yield f"{name}/games_howell_t/{a}-{b}", t
                yield f"{name}/games_howell_df/{a}-{b}", df


def _not_significant(comparison: Comparison) -> str:
    pairs = comparison.pairs
    alike = pairs[pairs["dunn_p_holm"] >= 0.05]
    names = ["-".join(sorted(pair)) for pair in zip(alike["a"], alike["b"], strict=True)]
    return " ".join(sorted(names)) or "none"


def _welch(a: pd.Series, b: pd.Series) -> tuple[float, float]:
    """Return Welch's t of two groups and its degrees of freedom."""
    v, w = a["sd"] ** 2 / a["n"], b["sd"] ** 2 / b["n"]
    t = (a["mean"] - b["mean"]) / math.sqrt(v + w)
    return float(t), float((v + w) ** 2 / (v**2 / (a["n"] - 1) + w**2 / (b["n"] - 1)))


def _correlations(reanalysis: Reanalysis, variant: str = "published") -> Figures:
    for environment, runs in reanalysis.runs(variant).groupby("environment", sort=False):
        for a, b in itertools.permutations(CORRELATED, 2):
            x, y = runs[CORRELATED[a]], runs[CORRELATED[b]]
            yield f"{a}-{b}/{environment}", float(stats.spearmanr(x, y).statistic)
            yield f"levene_w/{a}-{b}/{environment}", float(stats.levene(x, y).statistic)
        for name, column in CORRELATED.items():
            yield f"shapiro_w/{name}/{environment}", float(stats.shapiro(runs[column]).statistic)


def _savings(reanalysis: Reanalysis, variant: str = "published") -> Figures:
    runs = reanalysis.runs(variant)
    groups = runs.groupby(CONDITION, sort=False)
    joules, f1 = groups["energy_j_per_image"].median(), groups["f1"].median()
    levels = np.sort(joules.to_numpy())
    yield "max", float(1 - levels[0] / levels[-1])
    yield "min", float((1 - levels[:-1] / levels[1:]).min())
    for environment, part in joules.groupby("environment"):
        yield f"{environment}/max", float(1 - part.min() / part.max())
    for (dear, a), (cheap, b) in itertools.permutations(joules.index, 2):
        share = float(1 - joules[cheap, b] / joules[dear, a])
        if dear == cheap:
            yield f"{dear}/{a}-{b}", share
            yield f"f1/{a}-{b}/{dear}", float(f1[dear, a] - f1[dear, b])
            yield f"f1_share/{a}-{b}/{dear}", float(1 - f1[dear, b] / f1[dear, a])
        if a == b:
            yield f"{a}/{dear}-{cheap}", share
    yield "f1_share/max", float(1 - f1.min() / f1.max())


def _first_version(reanalysis: Reanalysis) -> Figures:
    variant = "first_formula"
    runs = reanalysis.runs()
    trapezoid_j = runs["energy_j"] / (IMAGES_PER_EPOCH * runs["epochs_first_version"])
    yield "max_by_trapezoid", _largest_saving(runs, trapezoid_j)
    last_epochs = runs["power_sum_w"] * runs["duration_s"] / runs["images_processed"]
    yield "max_with_the_last_epochs", _largest_saving(runs, last_epochs)
    groups = reanalysis.runs(variant).groupby(CONDITION)
    for (environment, architecture), value in groups["energy_j_per_image"].median().items():
        # Published in thousands of what the formula gives.
        yield f"{environment}/{architecture}/energy_per_image", float(value) / 1e3
    yield from _savings(reanalysis, variant)
    yield from _correlations(reanalysis, variant)
    for name, comparison in reanalysis.tests(variant).items():
        yield f"{name}/kruskal_h", comparison.kruskal_h
        yield f"{name}/eta_squared", comparison.eta_squared
        yield f"{name}/dunn_not_significant", _not_significant(comparison)


def _largest_saving(runs: pd.DataFrame, energy: pd.Series) -> float:
    medians = energy.groupby([runs["environment"], runs["architecture"]]).median()
    return float(1 - medians.min() / medians.max())


def _epochs_corrected(reanalysis: Reanalysis) -> Figures:
    variant = "epochs_corrected"
    groups = reanalysis.runs(variant).groupby(CONDITION)
    for (environment, architecture), value in groups["energy_j_per_image"].median().items():
        yield f"{environment}/{architecture}/energy_j_per_image", float(value)
    yield from _savings(reanalysis, variant)
    yield from _correlations(reanalysis, variant)
    tests = reanalysis.tests(variant)
    yield from _tests(tests)
    yield from _pairs(tests)


def _decimals(reanalysis: Reanalysis) -> Figures:
    """Yield the figures with the decimals of power; none if logs are missing."""
    runs = reanalysis.every_run
    logged = runs["run_id"].isin(reanalysis.raw.runs["run_id"])
    if set(runs.loc[~logged, "environment"]) & {RQ1_ENVIRONMENT, SMALLER_GPU}:
        return
    variant = "decimals_alone"
    alone = replace(reanalysis)
    alone.__dict__["every_run"] = runs.assign(
        **{variant: runs["exact_energy_j"] / runs["images_processed"]}
    )
    yield from _savings(alone, variant)
    yield "rq1_energy/kruskal_h", alone.test("rq1_energy", variant).kruskal_h
    whole_j = reanalysis.raw.runs.set_index("run_id")["energy_j_whole_watts"]
    for row in runs[logged].to_dict("records"):
        condition = f"{row['environment']}/{row['architecture']}/{row['repetition']}"
        yield f"{condition}/energy_mj", row["exact_energy_j"] / 1e6
        yield f"{condition}/energy_mj_whole_watts", float(whole_j[row["run_id"]]) / 1e6


_PARTS: dict[str, Callable[[Reanalysis], Figures]] = {
    "totals": _totals,
    "medians": _medians,
    "tests": lambda reanalysis: _tests(reanalysis.tests()),
    "pairs": lambda reanalysis: _pairs(reanalysis.tests()),
    "correlations": _correlations,
    "savings": _savings,
    "first version": _first_version,
    "epochs corrected": _epochs_corrected,
    "decimals": _decimals,
}
