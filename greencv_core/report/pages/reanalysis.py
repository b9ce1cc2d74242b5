"""Tables and sentences of the page on the published measurements.

They are None if the data are unavailable, which the note at the top of the page explains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Protocol

import pandas as pd
from IPython.display import Markdown

from greencv_core.analysis import Saving, Unavailable, attempt
from greencv_core.analysis.result import ALPHA
from greencv_core.published.seaa2023.claims import claims_summary
from greencv_core.published.seaa2023.evidence import removals_sentence
from greencv_core.published.seaa2023.history import history
from greencv_core.published.seaa2023.reanalysis import IDLE, VARIANTS, Reanalysis, Removals
from greencv_core.published.seaa2023.sessions import SessionHeadline
from greencv_core.published.seaa2023.thinning import Thinning
from greencv_core.published.seaa2023.verdicts import net_saving
from greencv_core.report.exhibits.exhibit import Exhibit, skip_unavailable, table_exhibit
from greencv_core.report.exhibits.labels import heading
from greencv_core.report.exhibits.markdown import (
    Basis,
    admonition,
    bullet_list,
    paragraph,
    with_basis,
)
from greencv_core.report.exhibits.tables import collapsible_tables, show_table, to_csv_frame
from greencv_core.utils.downloads import VARIABLE, summarise_problems
from greencv_core.utils.text import count, percent

REMOVALS: dict[Removals, str] = {
    "by_hand": "Less those removed by hand",
    "none": "All runs",
    "rule": "Less those of the declared rule",
}
_FIGURES = {
    "energy_j_per_image": "energy per image (J)",
    "energy_j_per_image_all_runs": "energy per image (J), all runs",
    "energy_per_image": "energy per image (first formula, thousands of J s)",
    "utilization_pct": "GPU utilisation (%)",
    "duration_ms_per_image": "time per image (ms)",
    "f1": "F1",
    "temperature_c": "temperature (\N{DEGREE SIGN}C)",
    "power_w": "mean power (W)",
    "duration_h": "time (h)",
    "n_all_runs": "n, all runs",
    "rq1_energy": "RQ1 energy",
    "rq1_gpu_utilization": "RQ1 GPU utilisation",
    "rq1_f1": "RQ1 F1",
    "rq2_energy": "RQ2 energy",
    "rq2_gpu_utilization": "RQ2 GPU utilisation",
    "kruskal_h": "Kruskal-Wallis H",
    "kruskal_p": "Kruskal-Wallis p",
    "eta_squared": "eta squared",
    "levene_w": "Levene W",
    "levene_p": "Levene p",
    "welch_f": "Welch F",
    "welch_df2": "Welch df 2",
    "welch_p": "Welch p",
    "shapiro_w": "Shapiro-Wilk W",
    "shapiro_p": "Shapiro-Wilk p",
    "dunn_p": "Dunn p (Holm)",
    "dunn_not_significant": "pairs that Dunn's test does not tell apart",
    "cliffs_delta": "Cliff's delta",
    "cliffs_magnitude": "size of Cliff's delta",
    "games_howell_t": "Games-Howell t",
    "games_howell_p": "Games-Howell p",
    "games_howell_df": "Games-Howell df",
    "games_howell_p_of_the_others": "Games-Howell p of all other pairs",
    "games_howell_largest_p": "Games-Howell p, largest",
    "f1_share": "F1, relative",
    "energy_mj": "energy (MJ)",
    "energy_mj_whole_watts": "energy (MJ) of whole watts",
    "max_by_trapezoid": "max, its epochs and the integral of power",
    "max_with_the_last_epochs": "max, its formula and the last version's epochs",
    "gco2e_per_kwh": "gCO2e per kWh",
    "energy_kwh": "energy (kWh)",
}


class Answer(Protocol):
    """A result, or the reason why there is none."""

    def sentence(self) -> str:
        """Return it as a sentence."""
        ...


def data_note(reanalysis: Reanalysis | Unavailable) -> Markdown | Basis:
    """Return a box on the data of the page or, if they are missing, on how to get them."""
    if isinstance(reanalysis, Unavailable):
        return missing_note(reanalysis, "this page")
    runs = reanalysis.every_run
    text = (
        f"{count(len(runs), 'run')} of {runs['architecture'].nunique()} architectures in "
        f"{runs['environment'].nunique()} environments; energy is that of the GPU's board. "
        f"{reanalysis.raw.sentence()}"
    )
    if not reanalysis.problems:
        return with_basis(admonition("note", "Energy here is published", text), runs)
    title = f"{count(len(reanalysis.problems), 'file')} could not be used; the rest is analysed"
    return with_basis(
        admonition("warning", title, text, summarise_problems(reanalysis.problems)), runs
    )


def missing_note(missing: Unavailable, part: str) -> Markdown:
    """Return a box on how to get the published data, without which ``part`` has no figures."""
    return admonition(
        "warning",
        f"The published measurements are not here, and {part} has no figures",
        "To get them, build the book again with a network, which downloads them once; or set "
        f"<code>{VARIABLE}</code> to a folder that holds them or to a mirror's URL.",
        [missing.reason],
    )


@skip_unavailable
def show_sentence(reanalysis: Reanalysis, describe: Callable[[Reanalysis], str]) -> Markdown:
    """Return the sentences of ``describe`` as a paragraph."""
    return paragraph(describe(reanalysis))


@skip_unavailable
def show_results(reanalysis: Reanalysis, *results: Answer) -> Markdown:
    """Return the sentences of results, as a paragraph."""
    return paragraph(*(result.sentence() for result in results))


@skip_unavailable
def list_results(results: Mapping[str, Answer]) -> Markdown:
    """Return the sentence of each result under its name, as a list."""
    return bullet_list(f"{name}: {result.sentence()}" for name, result in results.items())


@skip_unavailable
def evidence_table(
    reanalysis: Reanalysis, tabulate: Callable[[Reanalysis], pd.DataFrame], caption: str
) -> Exhibit | None:
    """Return one of the evidence tables, or None if it is empty."""
    frame = tabulate(reanalysis)
    return None if frame.empty else show_table(frame, caption)


@skip_unavailable
def agreement_table(claims: pd.DataFrame) -> Exhibit:
    """Return how many published figures come out, by part."""
    return show_table(claims_summary(claims), "Figures that come out to the digits given")


@skip_unavailable
def disagreements_table(claims: pd.DataFrame) -> Exhibit | Markdown:
    """Return the published figures that do not come out, or that need a run put back."""
    odd = claims[~claims["agrees"] | (claims["besides"] != "")]
    if odd.empty:
        return paragraph("Every published figure comes out with the same runs.")
    return show_table(_beside(odd), "Figures that differ, or that need a run put back")


@skip_unavailable
def compared_claims_table(claims: pd.DataFrame, part: str, *figures: str) -> Exhibit:
    """Return published and recomputed figures of one part side by side.

    Where ``figures`` are named (``energy_j_per_image``, ``kruskal_h``), claims of one of them only.
    """
    chosen = claims[claims["part"] == part]
    if figures:
        chosen = chosen[[not {*figures}.isdisjoint(claim.split("/")) for claim in chosen["claim"]]]
    return show_table(_beside(chosen).drop(columns="put_back"), f"Published and recomputed: {part}")


@skip_unavailable
def all_claims_table(claims: pd.DataFrame) -> Exhibit:
    """Return all figures, each part under a line that opens it."""
    parts = {
        f"{part.capitalize()}: {count(len(some), 'figure')}": _beside(some)
        for part, some in claims.groupby("part", sort=False)
    }
    return table_exhibit(
        f"All {len(claims)} figures, published and recomputed", collapsible_tables(parts),
        to_csv_frame(claims),
    )  # fmt: skip


def _beside(claims: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "figure": [_named(claim) for claim in claims["claim"]],
            "published": [re.sub(r"^(-?)\.", r"\g<1>0.", text) for text in claims["published"]],
            "source": claims["source"].map(heading),
            "recomputed": [
                _like(value, text)
                for value, text in zip(claims["recomputed"], claims["published"], strict=True)
            ],
            "difference": [
                "" if d != d else f"{d:.0e}".replace("-", "\N{MINUS SIGN}")
                for d in claims["difference"]
            ],
            "agrees": claims["agrees"],
            "put_back": [
                ", run ".join(b.rsplit("/", 1)).replace("/", ", ") for b in claims["besides"]
            ],
        }
    ).reset_index(drop=True)


def _named(claim: str) -> str:
    parts = [_FIGURES.get(part, part) for part in claim.split("/")]
    return ", ".join(parts).replace("utilization", "utilisation")


def _like(value: object, text: str) -> str:
    """Return a value with two digits more than its published form has."""
    if not isinstance(value, float):
        return "not known" if value is None else str(value)
    if "e" in text.lower() or text.startswith("<"):
        return f"{value:.4g}"
    return f"{value:.{len(text.partition('.')[2]) + 2}f}"


@skip_unavailable
def headline_table(reanalysis: Reanalysis) -> Exhibit:
    """Return the largest saving by each energy, without the runs that each rule removes."""
    savings = {removals: reanalysis.headline(removals) for removals in REMOVALS}
    rows = []
    for variant, label in VARIANTS.items():
        first = savings["by_hand"][variant]
        row = {"energy": label}
        if isinstance(first, Saving):
            row |= {"saved_by": first.cheap, "saved_against": first.dear}
            row |= {REMOVALS[name]: _interval(found[variant]) for name, found in savings.items()}
        rows.append(row)
    columns = ["energy", "saved_by", "saved_against", *REMOVALS.values()]
    frame = pd.DataFrame(rows, columns=columns).fillna("")
    return show_table(frame, "Largest saving between two conditions, 95 % interval below")


@skip_unavailable
def effects_table(reanalysis: Reanalysis) -> Exhibit:
    """Return what each correction makes of each headline."""
    effects = reanalysis.effects.set_index("claim")
    frame = pd.DataFrame({"energy": [VARIANTS[variant] for variant in effects.columns]})
    for claim, results in effects.iterrows():
        frame[str(claim).replace("largest", "Largest")] = [_interval(result) for result in results]
    return show_table(frame, "Savings by each energy, 95 % interval below")


@skip_unavailable
def tests_table(reanalysis: Reanalysis) -> Exhibit:
    """Return what each correction makes of the energy tests of both questions."""
    rows: list[dict[str, object]] = []
    for name in ("rq1_energy", "rq2_energy"):
        for variant, label in VARIANTS.items():
            row: dict[str, object] = {"test": _FIGURES[name], "energy": label}
            test = attempt(reanalysis.test, name, variant)
            if not isinstance(test, Unavailable):
                apart = int((test.pairs["dunn_p_holm"] < ALPHA).sum())
                row |= {
                    "n": str(int(test.groups["n"].sum())),
                    "groups": str(len(test.groups)),
                    "h": f"{test.kruskal_h:.2f}",
                    "p": test.kruskal_p,
                    "eta_squared": test.eta_squared,
                    "pairs_told_apart": f"{apart} of {len(test.pairs)}",
                }
            rows.append(row)
    return show_table(pd.DataFrame(rows), "Kruskal-Wallis tests of energy per image")


@skip_unavailable
def headline_sentence(reanalysis: Reanalysis) -> Markdown:
    """State what remains of the saving in the abstract."""
    savings = reanalysis.headline()
    first, published, corrected = (
        savings[variant] for variant in ("first_formula", "published", "ends_restored")
    )
    if (
        isinstance(first, Unavailable)
        or isinstance(published, Unavailable)
        or isinstance(corrected, Unavailable)
    ):
        return paragraph("The runs at hand do not hold the conditions of the headline.")
    same = (published.dear, published.cheap) == (first.dear, first.cheap)
    net = net_saving(corrected, [savings[variant] for variant in IDLE])
    environments = "one environment" if _alike(published, "environment") else "two environments"
    pair = "the same pair" if same else "another pair"
    return paragraph(
        f"The first version's {percent(first.of_medians, 2)} compares {first.cheap} with "
        f"{first.dear}; its quantity grows with the square of the time, so that the slowest "
        "environment looks worst. Integrated, the largest saving is "
        f"{percent(published.of_medians, 2)} of medians, and {percent(published.saving, 2)} of "
        f"geometric means ({percent(published.ci_low)} to {percent(published.ci_high)}), of "
        f"{published.cheap} against {published.dear}: {pair}, in {environments}. With every "
        "correction of this page "
        f"that leaves energy gross it is {percent(corrected.saving, 2)} "
        f"({percent(corrected.ci_low)} to {percent(corrected.ci_high)}). {net} What remains of the "
        "abstract's claim: in these data, and gross, so much of the energy of the GPU's board can "
        f"be saved among these conditions{_by_what(corrected)}. The largest of many savings is "
        "biased upwards, and its interval allows for the choice."
    )


def _by_what(result: Saving) -> str:
    if _alike(result, "environment"):
        return ", by the choice of the architecture alone"
    if _alike(result, "architecture"):
        return ", by the choice of the environment alone"
    return ", by the choice of both"


def _alike(result: Saving, factor: str) -> bool:
    return result.from_condition[factor] == result.to_condition[factor]


@skip_unavailable
def sessions_sentence(headline: SessionHeadline) -> Markdown:
    """State the headline by runs and by sessions, and how sessions are found."""
    return paragraph(headline.sentence(), headline.rule())


@skip_unavailable
def sessions_table(headline: SessionHeadline) -> Exhibit:
    """Return the spread between and within sessions, by condition."""
    return show_table(headline.spread.table(), "Sessions of each condition, and how they differ")


@skip_unavailable
def thinning_table(thinned: Thinning) -> Exhibit:
    """Return the headlines by the time between samples."""
    rows = thinned.table
    shown = pd.DataFrame(
        {
            "Sample every": [f"{value} s" for value in rows["every_s"]],
            "Largest change of a run's energy": [percent(v, 2) for v in rows["largest_change"]],
            "Largest saving": [
                f"{percent(row.saving, 2)}\n{100 * row.ci_low:.1f} to {100 * row.ci_high:.1f}"
                for row in rows.itertuples()
            ],
            "Exponent of GFLOPs, Cloud": [f"{v:.3f}" for v in rows["exponent_cloud"]],
            "Exponent of GFLOPs, Local ML": [f"{v:.3f}" for v in rows["exponent_local_ml"]],
            "Hardware matches": rows["matching"],
            "Exponent of the ratio": [
                f"{v:.3f}".replace("-", "\N{MINUS SIGN}") for v in rows["matching_exponent"]
            ],
        }
    )
    return show_table(
        shown, "Headlines from logs with fewer samples, gross and corrected", data=rows
    )


@skip_unavailable
def history_table(reanalysis: Reanalysis) -> Exhibit:
    """Return what each version of the paper said of the largest saving."""
    return show_table(
        history(reanalysis),
        "The headline in each version of arXiv 2307.05520, and what the public runs give",
    )


@skip_unavailable
def rule_sentence(reanalysis: Reanalysis) -> Markdown:
    """State the declared rule, and what it has in common with the removals by hand."""
    return paragraph(reanalysis.outliers.sentence(), removals_sentence(reanalysis))


@skip_unavailable
def verdicts_table(verdicts: pd.DataFrame) -> Exhibit:
    """Return the table of claims and what remains of each."""
    return show_table(verdicts, "Claims, and what remains of them")


def _interval(result: Saving | Unavailable) -> str:
    if isinstance(result, Unavailable):
        return "no log"
    text = f"{percent(result.saving, 2)}\n{100 * result.ci_low:.1f} to {100 * result.ci_high:.1f}"
    return text.replace("-", "\N{MINUS SIGN}").replace(" ", "\N{NO-BREAK SPACE}")
