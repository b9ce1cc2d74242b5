"""Tables of the analyses: estimate and interval in one cell, the verdict where it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from IPython.display import Markdown

from greencv_core.analysis import (
    BreakEven,
    EnergyRegression,
    EnergyToTarget,
    Interaction,
    NestedModels,
    Power,
    SavingsWithoutLoss,
    SpecificationCurve,
    TradeOff,
    Unanswered,
)
from greencv_core.analysis.wording import as_opening, count, number, percent, quantity
from greencv_core.report import exhibits
from greencv_core.report.answered import if_answered
from greencv_core.report.exhibits import Exhibit
from greencv_core.report.labels import heading
from greencv_core.report.prose import itemised, say
from greencv_core.report.tables import plain_frame, styled, unfolding

MOST_ROWS = 12
"""Of a table of pairs; the others open on demand."""
_MINUS, _ABSENT, _NBSP = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NO-BREAK SPACE}"


@if_answered
def pairs_without_loss(result: SavingsWithoutLoss) -> Exhibit | None:
    """Return each pair that saves, the largest saving first, and whether it loses correctness."""
    if result.pairs.empty:
        return None
    pairs, name = result.pairs, quantity(result.correctness)
    frame = pd.DataFrame(
        {
            "Saves, against": _against(pairs),
            "Saving": _savings(pairs),
            f"Loss of {name}: medians, and means at most": [
                f"{_decimals(loss)}\n{_decimals(most)}".replace(" ", _NBSP)
                for loss, most in zip(pairs["correctness_loss"], pairs["loss_high"], strict=True)
            ],
            "non_inferiority_p_holm": pairs["non_inferiority_p_holm"],
            "non_inferiority_p_ranks": pairs["non_inferiority_p_ranks"],
            "Shown below the margin": pairs["passes"],
        }
    )
    caption = (
        f"Pairs that save {quantity(result.value)}, and whether they lose less than "
        f"{100 * result.margin:g} points of {name}; p of non-inferiority"
    )
    return _opening(frame, caption, "pair", data=pairs)


@if_answered
def coefficients_table(result: EnergyRegression, provenance: str) -> Exhibit:
    """Return the coefficients of the regression."""
    response = f"Response: log10 of {heading('energy_j_per_image', provenance)}; HC3"
    return styled(result.table(), response)


@if_answered
def type_ii_table(result: EnergyRegression) -> Exhibit:
    """Return the analysis of variance of the regression."""
    frame = result.anova.assign(df=_degrees(result.anova))[["term", "f", "df", "p"]]
    return styled(frame, "Type II analysis of variance of log10 energy per image, HC3")


@if_answered
def vif_table(result: EnergyRegression) -> Exhibit | None:
    """Return how much each predictor overlaps with the others."""
    if len(result.vif) < 2:
        return None
    return styled(result.vif, "Variance inflation of the regression's predictors")


@if_answered
def nested_table(result: NestedModels) -> Exhibit:
    """Return the models, each with what its last term adds and what it leaves."""
    models = result.models
    frame = pd.DataFrame(
        {
            "Model": models["model"],
            "Coefficients": models["coefficients"],
            "Adjusted R squared": [f"{v:.3f}" for v in models["adjusted_r_squared"]],
            "AIC": [f"{v:.1f}".replace("-", _MINUS) for v in models["aic"]],
            "added_p": models["added_p"],
            "lack_of_fit_f": models["lack_of_fit_f"],
            "lack_of_fit_p": models["lack_of_fit_p"],
            "Typical misfit of a condition": [percent(v) for v in models["typical_misfit"]],
            "Misses an unseen architecture by": [
                _ABSENT if v is None or v != v else percent(v)
                for v in models["unseen_architecture_error"]
            ],
        }
    )
    return styled(frame, "The regression of log10 energy per image, term by term")


@if_answered
def interaction_table(result: Interaction, provenance: str) -> Exhibit:
    """Return the two-way analysis: the primary test, the effect size, aligned ranks."""
    frame = result.anova.assign(df=_degrees(result.anova))
    columns = ["term", "f", "df", "p", "partial_eta_squared", "aligned_f", "aligned_p"]
    response = f"Response: log10 of {heading('energy_j_per_image', provenance)}"
    return styled(frame[columns], f"{response}; Welch-James, then aligned ranks")


@if_answered
def effects_table(result: Interaction) -> Exhibit:
    """Return the simple effects: each environment against the reference, by architecture."""
    effects = result.effects
    frame = pd.DataFrame(
        {
            "architecture": effects["architecture"],
            "environment": effects["environment"],
            "Against": effects["reference"],
            "Ratio of energy (95 %)": [
                _with_interval(number, *row)
                for row in effects[["ratio", "ci_low", "ci_high"]].itertuples(index=False)
            ],
            "p_holm": effects["p_holm"],
        }
    )
    caption = "Environments by architecture; ratio of geometric means of energy, Welch's t"
    return styled(frame, caption, data=effects)


def break_even_sentences(results: Mapping[str, BreakEven | Unanswered]) -> Markdown:
    """Return what is known of the break-even of each pair of environments."""
    if not results:
        return say("There is one environment: nothing to break even with.")
    return itemised(result.sentence() for result in results.values())


@if_answered
def trade_off_table(result: TradeOff, provenance: str) -> Exhibit:
    """Return how surely each condition is on the front, and what its correctness took."""
    table = result.conditions.sort_values("energy_j_per_image")
    name = quantity(result.correctness)
    frame = table[[*result.by, "n", "energy_j_per_image", result.correctness]].assign(
        on_front=table["on_front"],
        front_probability=[
            _ABSENT if p != p else percent(p, 0) for p in table["front_probability"]
        ],
        per_kj=table["correctness_per_kj"],
    )
    frame = frame.rename(columns={"per_kj": f"{as_opening(name)} for 1 kJ of training"})
    caption = f"Energy and correctness of conditions, medians; energy {provenance}"
    return styled(frame.reset_index(drop=True), caption, provenance)


@if_answered
def target_table(result: EnergyToTarget, provenance: str) -> Exhibit:
    """Return what each condition took to the target."""
    table = result.conditions.sort_values("energy_j")
    frame = pd.DataFrame(
        {
            **{column: table[column] for column in result.by},
            "Runs that reached it": [
                f"{reached} of {n}" for reached, n in zip(table["reached"], table["n"], strict=True)
            ],
            "energy_j": table["energy_j"],
        }
    )
    caption = f"Energy until a {quantity(result.correctness)} of {result.target:.2f}, medians"
    return styled(frame.reset_index(drop=True), caption, provenance)


@if_answered
def power_table(result: Power) -> Exhibit:
    """Return how much each condition varies and the repetitions that a difference needs."""
    table = result.conditions
    frame = pd.DataFrame(
        {
            **{column: table[column] for column in result.by},
            "n": table["n"],
            "Variation": [_share(v) for v in table["variation"]],
            f"Repetitions needed for {percent(result.difference, 0)}": [
                _ABSENT if v != v else f"{int(v):,}" for v in table["repetitions_needed"]
            ],
            "Smallest difference that n shows": [_share(v) for v in table["smallest_difference"]],
        }
    )
    return styled(frame, f"Power for {quantity(result.value)}: 80 % at 5 %, two-sided")


@if_answered
def curve_table(result: SpecificationCurve) -> Exhibit:
    """Return every analysis of the specification curve."""
    table = result.specifications
    frame = table[list(result.choices)].assign(
        **{"Saving": _savings(table), "Saves, against": _against(table)}
    )
    caption = "Largest saving of energy per image by every reasonable analysis, 95 % interval below"
    return _opening(frame, caption, "analysis", "analyses", table)


def _opening(
    frame: pd.DataFrame, caption: str, row: str, rows: str | None = None,
    data: pd.DataFrame | None = None,
) -> Exhibit:  # fmt: skip
    rest = frame.iloc[MOST_ROWS:].reset_index(drop=True)
    line = f"The other {count(len(rest), row, rows)}"
    body = unfolding({} if rest.empty else {line: rest}, frame.head(MOST_ROWS))
    return exhibits.table(caption, body, plain_frame(frame if data is None else data))


def _against(pairs: pd.DataFrame) -> list[str]:
    both = zip(pairs["to"], pairs["from"], strict=True)
    return [f"{to}\n{dear}".replace(" ", _NBSP) for to, dear in both]


def _savings(pairs: pd.DataFrame) -> list[str]:
    return [
        _with_interval(percent, *row)
        for row in pairs[["saving", "ci_low", "ci_high"]].itertuples(index=False)
    ]


def _with_interval(text: Callable[[float], str], estimate: float, low: float, high: float) -> str:
    told = [text(value).replace("-", _MINUS) for value in (estimate, low, high)]
    return f"{told[0]}\n{told[1]} to {told[2]}".replace(" ", _NBSP)


def _decimals(value: float) -> str:
    return _ABSENT if np.isnan(value) else f"{value + 0.0:.3f}".replace("-", _MINUS)


def _share(value: float) -> str:
    return _ABSENT if np.isnan(value) else percent(value)


def _degrees(table: pd.DataFrame) -> list[str]:
    return [f"{a:.0f}; {b:.1f}" for a, b in zip(table["df1"], table["df2"], strict=True)]
