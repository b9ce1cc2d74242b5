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
    Unavailable,
)
from greencv_core.analysis.regression.breakeven import most_precise
from greencv_core.report.exhibits.exhibit import Exhibit, skip_unavailable, table_exhibit
from greencv_core.report.exhibits.labels import heading, people_name
from greencv_core.report.exhibits.markdown import bullet_list, paragraph
from greencv_core.report.exhibits.tables import (
    MANY_ROWS,
    add_headings,
    collapse_rows,
    collapsible_tables,
    show_table,
    to_csv_frame,
    with_interval,
)
from greencv_core.utils.text import as_opening, count, number, percent, quantity

_UNLIKELY = 0.01
"""A condition that is on the front in a smaller share of resamples is shown on demand."""
_MINUS, _ABSENT, _NBSP = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NO-BREAK SPACE}"


@skip_unavailable
def conditions_without_loss(result: SavingsWithoutLoss) -> Exhibit:
    """Return by how much each condition may lose correctness against the best."""
    table, name = result.conditions, quantity(result.correctness)
    frame = pd.DataFrame(
        {
            "condition": table["condition"].map(people_name).str.replace(" ", _NBSP),
            "n": table["n"],
            f"Mean {name}": table[result.correctness].map(_decimals),
            "Loses at most": table["loss_high"].map(_decimals),
            "Below the margin": table["passes"],
        }
    )
    caption = (
        f"Loss of mean {name} against the best condition: upper bound, 95% for all at once; the "
        f"margin is {result.margin:g}"
    )
    return _opening(frame, caption, "condition", data=table)


@skip_unavailable
def coefficients_table(result: EnergyRegression, provenance: str) -> Exhibit:
    """Return the line of each environment: its level and exponents with their intervals."""
    lines = result.lines
    frame = lines[["environment", "architectures"]].assign(
        **{
            "Energy at the mean complexity (J)": lines["level_j"],
            "Exponent of GFLOPs (95%)": _intervals(
                "{:z.2f}".format, lines, "exponent", "ci_low", "ci_high"
            ),
            "p": lines["p"],
        }
    )
    if "parameters_exponent" in lines:
        frame["Exponent of parameters (95%)"] = _intervals(
            "{:z.2f}".format, lines, "parameters_exponent", "parameters_low", "parameters_high"
        )
    caption = (
        f"Energy per image ({provenance}) as a power of GFLOPs in each environment; architectures "
        "as units"
    )
    return show_table(frame, caption, data=lines)


def _intervals(form: Callable[[float], str], table: pd.DataFrame, *columns: str) -> list[str]:
    return [with_interval(form, *row) for row in table[list(columns)].itertuples(index=False)]


@skip_unavailable
def nested_table(result: NestedModels) -> Exhibit:
    """Return the models, each with what its last term adds and what it leaves."""
    models = result.models
    frame = pd.DataFrame(
        {
            "Model": models["model"],
            "Coefficients": models["coefficients"],
            "Adjusted R squared": models["adjusted_r_squared"].map("{:.3f}".format),
            "added_p": models["added_p"].astype(object).fillna("not tested"),
            "lack_of_fit_f": models["lack_of_fit_f"],
            "lack_of_fit_p": models["lack_of_fit_p"].astype(object).fillna("not tested"),
            "Typical misfit of a condition": [percent(v) for v in models["typical_misfit"]],
            "Misses an unseen architecture by": [
                _ABSENT if v is None or v != v else percent(v)
                for v in models["unseen_architecture_error"]
            ],
        }
    )
    return show_table(
        frame,
        "The regression of log10 energy per image, term by term; terms tested between "
        "architectures, what is left against the runs' spread",
        data=models,
    )


@skip_unavailable
def interaction_table(result: Interaction, provenance: str) -> Exhibit:
    """Return the two-way analysis of variance: Welch-James, the effect size, aligned ranks."""
    frame = result.anova.assign(df=_degrees(result.anova))
    columns = ["term", "f", "df", "p", "partial_eta_squared", "aligned_f", "aligned_p"]
    response = f"Response: log10 of {heading('energy_j_per_image', provenance)}"
    return show_table(frame[columns], f"{response}; Welch-James, then aligned ranks")


@skip_unavailable
def effects_table(result: Interaction) -> Exhibit:
    """Return the simple effects: each pair of environments, by architecture."""
    effects = result.effects
    frame = pd.DataFrame(
        {
            "architecture": effects["architecture"],
            "environment": effects["environment"],
            "Against": effects["reference"],
            "Ratio of energy (95% for all at once)": [
                with_interval(number, *row)
                for row in effects[["ratio", "ci_low", "ci_high"]].itertuples(index=False)
            ],
            "p_holm": effects["p_holm"],
        }
    )
    caption = "Environments by architecture; ratio of geometric means of energy, t tests"
    if len(frame) <= MANY_ROWS:
        return show_table(frame, caption, data=effects)
    parts = {
        f"{name} against {reference}: {count(len(part), 'architecture')}": part.drop(
            columns=["environment", "Against"]
        )
        for (name, reference), part in frame.groupby(["environment", "Against"], sort=False)
    }
    return table_exhibit(caption, collapsible_tables(parts), to_csv_frame(effects))


def break_even_sentences(results: Mapping[str, BreakEven | Unavailable]) -> Markdown:
    """Return how many pairs of environments have a break-even, and what the best known one is."""
    if not results:
        return paragraph("There is one environment: nothing to break even with.")
    best = most_precise(results)
    if best is None:
        return bullet_list(dict.fromkeys(result.sentence() for result in results.values()))
    if len(results) == 1:
        return paragraph(best.sentence())
    known = [result for result in results.values() if isinstance(result, BreakEven)]
    bounded = sum(result.bounded for result in known)
    excluded = sum(result.excluded for result in known)
    return paragraph(
        f"Of {count(len(results), 'pair')} of environments, {bounded} "
        f"{'has' if bounded == 1 else 'have'} a break-even in the range observed that an interval "
        f"bounds, and for {excluded} one is ruled out there; each pair is tested by itself.",
        best.sentence(),
    )


def break_even_table(
    results: Mapping[str, BreakEven | Unavailable], provenance: str
) -> Exhibit | None:
    """Return where each pair of environments breaks even, and which takes less on either side.

    None of one pair, of which the sentence says as much.
    """
    known = [result for result in results.values() if isinstance(result, BreakEven)]
    if len(results) < 2 or not known:
        return None
    rows = [
        {"Environments": name, "Break-even (GFLOPs, 95%)": "no answer from these runs"}
        if isinstance(result, Unavailable)
        else {
            "Environments": name,
            "Break-even (GFLOPs, 95%)": _break_even_cell(result),
            **_either_side(result),
            "Cheaper one changes between": (
                f"{result.crossing.below}\n{result.crossing.above}" if result.crossing else _ABSENT
            ),
            "Architectures": f"{len(result.points)}",
        }
        for name, result in results.items()
    ]
    lowest, highest = min(r.lowest for r in known), max(r.highest for r in known)
    caption = (
        f"Break-even of each pair of environments within {number(lowest)} to {number(highest)} "
        f"GFLOPs per image, by energy per image ({provenance})"
    )
    return show_table(pd.DataFrame(rows), caption, data=_break_even_data(results))


def _break_even_cell(result: BreakEven) -> str:
    if result.excluded:
        return "none, ruled out"
    if not result.inside:
        return "none seen, not ruled out"
    if not result.bounded:
        return f"{number(result.gflops)}\nno interval bounds it"
    return with_interval(number, result.gflops, result.low, result.high)


def _either_side(result: BreakEven) -> dict[str, str]:
    below, above = (
        (result.below, result.above) if result.inside else (result.cheaper_throughout,) * 2
    )
    return {"Takes less below": below or _ABSENT, "Takes less above": above or _ABSENT}


def _break_even_data(results: Mapping[str, BreakEven | Unavailable]) -> pd.DataFrame:
    rows = [
        {"environments": name, "unanswered": result.reason}
        if isinstance(result, Unavailable)
        else {
            "environments": name,
            "break_even_gflops": result.gflops if result.inside else np.nan,
            "ci_low": result.low if result.inside else np.nan,
            "ci_high": result.high if result.inside else np.nan,
            "ruled_out": result.excluded,
            "less_below": _either_side(result)["Takes less below"],
            "less_above": _either_side(result)["Takes less above"],
            "exponent": result.exponent,
            "exponent_p": result.exponent_p,
            "architectures": len(result.points),
        }
        for name, result in results.items()
    ]
    return pd.DataFrame(rows)


@skip_unavailable
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
    frame = frame.reset_index(drop=True)
    if len(frame) <= MANY_ROWS:
        return show_table(frame, caption, provenance)
    likely = (table["on_front"] | (table["front_probability"] >= _UNLIKELY)).to_numpy()
    rest = frame[~likely].reset_index(drop=True)
    line = f"{count(len(rest), 'condition')} that are on the front in hardly any resample"
    body = collapsible_tables(
        {} if rest.empty else {line: rest}, frame[likely].reset_index(drop=True), provenance
    )
    return table_exhibit(caption, body, add_headings(frame, provenance))


@skip_unavailable
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
    return show_table(frame.reset_index(drop=True), caption, provenance)


@skip_unavailable
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
    caption = f"Power for {quantity(result.value)}: 80% at 5%, two-sided"
    if len(frame) <= MANY_ROWS:
        return show_table(frame, caption)
    varied = table["variation"].sort_values(ascending=False, kind="stable", na_position="last")
    body = collapse_rows(frame.loc[varied.index], "condition")
    return table_exhibit(f"{caption}; those that vary most first", body, add_headings(frame))


@skip_unavailable
def curve_table(result: SpecificationCurve) -> Exhibit:
    """Return every analysis of the specification curve."""
    table = result.specifications
    frame = table[list(result.choices)].assign(
        **{"Saving": _savings(table), "Saves, against": _against(table)}
    )
    caption = "Largest saving of energy per image by every reasonable analysis, 95% interval below"
    return _opening(frame, caption, "analysis", "analyses", table)


def _opening(
    frame: pd.DataFrame, caption: str, row: str, rows: str | None = None,
    data: pd.DataFrame | None = None,
) -> Exhibit:  # fmt: skip
    body = collapse_rows(frame, row, rows)
    return table_exhibit(caption, body, to_csv_frame(frame if data is None else data))


def _against(pairs: pd.DataFrame) -> pd.Series[str]:
    both = pairs["to"].map(people_name) + "\n" + pairs["from"].map(people_name)
    return both.str.replace(" ", _NBSP)


def _savings(pairs: pd.DataFrame) -> list[str]:
    return [
        with_interval(percent, *row)
        for row in pairs[["saving", "ci_low", "ci_high"]].itertuples(index=False)
    ]


def _decimals(value: float) -> str:
    return _ABSENT if np.isnan(value) else f"{value:z.3f}".replace("-", _MINUS)


def _share(value: float) -> str:
    return _ABSENT if np.isnan(value) else percent(value)


def _degrees(table: pd.DataFrame) -> list[str]:
    return [f"{a:.0f}; {b:.1f}" for a, b in zip(table["df1"], table["df2"], strict=True)]
