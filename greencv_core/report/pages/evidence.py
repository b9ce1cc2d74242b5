"""Sentences and tables of the page on all published measurements."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML, Markdown

from greencv_core.analysis import Unavailable
from greencv_core.published import load_adapter
from greencv_core.published.batch_choice import BatchChoice
from greencv_core.published.card import Card, Defect
from greencv_core.published.evidence import FROM_BUNDLE, ORIGIN
from greencv_core.published.evidence_results import EvidenceResults, saves
from greencv_core.published.pooling import Pooled, effects_table
from greencv_core.published.seaa2023.history import VERSIONS
from greencv_core.report.exhibits.exhibit import Exhibit, skip_unavailable, table_exhibit
from greencv_core.report.exhibits.markdown import (
    NO_FORMULAS,
    Basis,
    admonition,
    bullet_list,
    paragraph,
    with_basis,
)
from greencv_core.report.exhibits.sources import short_source
from greencv_core.report.exhibits.tables import collapsible_tables, show_table, to_csv_frame
from greencv_core.report.figures.evidence import place_name, short_pair
from greencv_core.report.pages.evidence_claims import split_claims
from greencv_core.utils.text import as_opening, count, listed

_MINUS = "\N{MINUS SIGN}"


def all_runs(results: EvidenceResults) -> pd.DataFrame:
    """Return the ids of the runs that count."""
    return pd.concat([table[["run_id"]] for table in results.counted.values()])


def data_note(results: EvidenceResults) -> Basis:
    """Return a line on the runs of this page, or a box if data sets could not be downloaded."""
    runs, every = all_runs(results), sum(map(len, results.tables.values()))
    text = (
        f"Data: {len(runs):,} of {every:,} published runs, from "
        f"{count(len(results.tables), 'data set')} (energy as published)."
    )
    missing = [t.attrs[ORIGIN] for t in results.tables.values() if t.attrs.get(FROM_BUNDLE)]
    if not missing:
        return with_basis(paragraph(text), runs)
    title = (
        f"{count(len(missing), 'data set')} could not be downloaded; this page uses the tables "
        "that come with the project"
    )
    others = ["The sections below say why for each data set."] if missing[1:] else []
    return with_basis(admonition("note", title, text, [missing[0], *others]), runs)


def answer(results: EvidenceResults) -> Markdown:
    """Return the answer of the page in three sentences."""
    return paragraph(_largest(results), _at_margin(results), _scaling(results))


def _largest(results: EvidenceResults) -> str:
    best: dict[str, float] = {}
    for saving in results.largest:
        best[saving.source] = max(saving.saving, best.get(saving.source, 0.0))
    if not best:
        return "No data set compares architectures."
    low, high = min(best.values()), max(best.values())
    return (
        f"Choosing the architecture saves {_percent(low)} to {_percent(high)} of the energy "
        "between the extremes of a data set."
    )


def _at_margin(results: EvidenceResults) -> str:
    if not results.savings:
        return "No data set reports correctness."
    none = sum(not saves(saving) for saving in results.savings)
    highest = max(saving.saving for saving in results.savings)
    return (
        f"Within {100 * results.margin:g} points of the best correctness, there is no saving in "
        f"{none} of {len(results.savings)} environments, and up to {_percent(highest)} in the "
        "others."
    )


def _scaling(results: EvidenceResults) -> str:
    if not results.scaling:
        return "No data set allows a comparison of hardware."
    k = sum(effect.ci_high < 0 for effect in results.scaling)
    against = sum(effect.ci_low > 0 for effect in results.batches)
    text = (
        f"Larger hardware suits complex architectures better in {k} of "
        f"{count(len(results.scaling), 'comparable pair')}"
    )
    if results.batches:
        text += (
            f"; {against} of {count(len(results.batches), 'pair')} of GPU generations show the "
            "opposite"
        )
    return f"{text}."


def _pooled(pooled: Pooled | Unavailable) -> str:
    if isinstance(pooled, Unavailable):
        return f"No mean over pairs of hardware: {pooled.reason}."
    laboratories = len({effect.laboratory for effect in pooled.effects})
    change = 10**pooled.mean - 1
    return (
        f"Ten times the GFLOPs {'lowers' if change < 0 else 'raises'} the energy ratio of larger "
        f"to smaller hardware by {_percent(abs(change))} (exponent {_signed(pooled.mean)}, 95% "
        f"interval {_signed(pooled.ci_low)} to {_signed(pooled.ci_high)}). "
        f"This mean is of only {count(len(pooled.effects), 'pair')} from "
        f"{count(laboratories, 'laboratory', 'laboratories')}: another pair may lie between "
        f"{_signed(pooled.prediction_low)} and {_signed(pooled.prediction_high)}."
    )


def correlations_sentence(results: EvidenceResults) -> str:
    """Say in how many environments energy rises with GFLOPs."""
    if not results.correlations:
        return ""
    coefficients = [value for _, value in results.correlations]
    return (
        "The rank correlation of energy with GFLOPs is positive in "
        f"{sum(value > 0 for value in coefficients)} of "
        f"{count(len(coefficients), 'environment')} (at least {min(coefficients):.2f})."
    )


def _repetitions(results: EvidenceResults) -> str:
    repeated = list(results.sessions)
    if not repeated:
        return "No data set repeats its runs, so no saving has an interval."
    return (
        f"{len(repeated)} of {count(len(results.tables), 'data set')} repeat their runs. "
        "Savings in the others have no interval."
    )


def savings_note(results: EvidenceResults) -> Markdown:
    """Say which savings have an interval, and why savings are not averaged."""
    repeated = {saving.source for saving in results.savings if not math.isnan(saving.effect.se)}
    return paragraph(
        _repetitions(results),
        "A mean of the savings needs three data sets with correctness that repeat their runs; "
        f"there are {len(repeated)}.",
    )


def savings_table(results: EvidenceResults) -> Exhibit:
    """Return the two architectures behind each saving, and what correctness it costs."""
    rows = results.savings
    shown = pd.DataFrame(
        {
            "Data set": [short_source(saving.source) for saving in rows],
            "Environment": [place_name(saving.dataset, saving.environment) for saving in rows],
            "Best": [saving.dear for saving in rows],
            "Least energy": ["\N{EN DASH}" if s.cheap == s.dear else s.cheap for s in rows],
            "Choices": [saving.architectures for saving in rows],
            "Saved": [_interval(s.saving, s.ci_low, s.ci_high) for s in rows],
            "Points lost": [f"{100 * saving.correctness_loss:.1f}" for saving in rows],
        }
    )
    data = pd.DataFrame(
        [{k: v for k, v in vars(s).items() if k not in ("effect", "laboratory")} for s in rows]
    )
    caption = (
        "The architectures behind the savings of energy per image (published). Choices: "
        f"architectures within {100 * results.margin:g} points of the best, by medians"
    )
    return show_table(shown, caption, runs=all_runs(results), data=data)


def _interval(saving: float, low: float, high: float) -> str:
    text = f"{100 * saving:.1f}%"
    return text if math.isnan(low) else f"{text} ({_percent(low)} to {_percent(high)})"


def scaling_table(results: EvidenceResults) -> Exhibit:
    """Return all exponents with their intervals, and the mean without each comparable pair."""
    rows = pd.concat(
        [
            effects_table(effects).assign(of=of)
            for of, effects in (("GFLOPs", results.scaling), ("GFLOPs x batch", results.batches))
            if effects
        ]
    )
    shown = pd.DataFrame(
        {
            "Data set": [short_source(name) for name in rows["source"]],
            "Larger / smaller": [short_pair(name) for name in rows["pair"]],
            "Exponent of": rows["of"],
            "Exponent (with 95% interval)": [
                f"{_signed(estimate)} ({_signed(low)} to {_signed(high)})"
                for estimate, low, high in rows[["estimate", "ci_low", "ci_high"]].to_numpy()
            ],
            "p": rows["p"],
            "Architectures": rows["architectures"].astype(int),
        }
    ).reset_index(drop=True)
    body = collapsible_tables({"Data set, p and number of architectures of each pair": shown})
    exhibit = table_exhibit(
        "Exponents of the energy ratio of larger to smaller hardware", body, to_csv_frame(rows)
    )
    return exhibit.with_runs(all_runs(results))


def pooled_sentence(pooled: Pooled | Unavailable) -> Markdown:
    """State the pooled exponent with its heterogeneity and what it depends on."""
    details = "" if isinstance(pooled, Unavailable) else pooled.sentence()
    return paragraph(_pooled(pooled), details)


def contradictions(results: EvidenceResults) -> Markdown:
    """Return what speaks against the answers, as a list."""
    effects = [*results.scaling, *results.batches]
    against = [effect for effect in effects if effect.ci_low > 0]
    points = []
    if against:
        named = listed([f"{short_pair(e.pair)} ({_signed(e.estimate)})" for e in against])
        points.append(
            f"Hardware: the exponent is above zero for {named}. There, the faster GPU saves most "
            "on small workloads. A newer generation is not the same as larger hardware."
        )
    open_pairs = [effect for effect in effects if effect.ci_low <= 0 <= effect.ci_high]
    if open_pairs:
        named = listed([short_pair(effect.pair) for effect in open_pairs])
        points.append(f"Hardware: the data show no dependence on complexity for {named}.")
    none = [saving for saving in results.savings if not saves(saving)]
    if none:
        named = listed([f"{short_pair(s.environment)} ({short_source(s.source)})" for s in none])
        points.append(f"Savings: no other choice saves energy in {named}.")
    points += [f"Claims: {sentence}" for sentence in split_claims(results)]
    return bullet_list(points)


def sessions(results: EvidenceResults) -> Markdown:
    """Say how much sessions differ in each source that repeats its trainings."""
    sentences = []
    for name, spread in results.sessions.items():
        if isinstance(spread, Unavailable):
            sentences.append(f"{short_source(name)}: {spread.reason}.")
        else:
            sentences.append(f"{short_source(name)}: {spread.sentence()}")
    single = [short_source(name) for name in results.tables if name not in results.sessions]
    if single:
        sentences.append(f"{listed(single)}: one run per condition; sessions are unknown.")
    return bullet_list(sentences)


def batch_sentence(choices: Sequence[BatchChoice] | Unavailable) -> Markdown:
    """Compare the best batch per image with the best batch to an accuracy."""
    if isinstance(choices, Unavailable):
        return paragraph(
            "The epochs that each batch size needs are not available offline: "
            f"{choices.reason.partition(chr(10))[0]}."
        )
    return paragraph(_batches(choices))


def _batches(choices: Sequence[BatchChoice]) -> str:
    differ = [choice for choice in choices if choice.differs]
    target = f"reach an accuracy of {choices[0].target:g}"
    cases = f"({len(differ)} of {count(len(choices), 'case')})"
    known = [choice.excess for choice in differ if choice.excess is not None]
    if not known:
        return f"The batch with the least energy per image is not the best to {target} {cases}."
    return (
        f"The batch with the least energy per image needs {_percent(min(known))} to "
        f"{_percent(max(known))} more energy to {target} than the best batch {cases}."
    )


@skip_unavailable
def batch_table(choices: Sequence[BatchChoice]) -> Exhibit:
    """Return both best batches of each architecture and GPU."""
    frame = pd.DataFrame(
        {
            "Architecture": [choice.architecture for choice in choices],
            "Data set": [choice.dataset for choice in choices],
            "Hardware": [choice.hardware for choice in choices],
            "Best batch per image": [str(choice.batch_per_image) for choice in choices],
            "Best batch to the accuracy": [str(choice.batch_to_target) for choice in choices],
            "More energy to the accuracy": [_excess(choice) for choice in choices],
        }
    )
    caption = (
        "Batch with the least energy per image and with the least energy to an accuracy of "
        f"{choices[0].target:g}; last column: extra energy of the first"
    )
    return show_table(frame, caption)


def _excess(choice: BatchChoice) -> str:
    if choice.excess is None:
        return "not always reached"
    return _percent(choice.excess) if choice.differs else "same batch"


def data_card(name: str, table: pd.DataFrame) -> HTML:
    """Return the card of a data set: source, licence, measurement, defects and rows left out."""
    card = load_adapter(name).CARD
    kept = int((table["left_out"].fillna("") == "").sum())
    facts = {
        "Paper": f'<a href="{html.escape(card.url)}">{html.escape(card.title)}</a> '
        f"({html.escape(card.authors)}, {card.year})",
        "Source": f'<a href="{html.escape(card.repository)}">{html.escape(card.repository)}</a>, '
        f"commit <code>{card.commit[:7]}</code>",
        "Licence": html.escape(card.licence),
        "Laboratory": html.escape(card.laboratory),
        "Trained": html.escape(card.trained),
        "Energy": html.escape(card.measured),
        "Runs": f"{kept:,} of {len(table):,} count. {html.escape(_origin(table))}",
    }
    terms = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in facts.items())
    limits = "".join(f"<li>{html.escape(limit)}</li>" for limit in card.limits)
    return HTML(
        f'<details class="gcv-card {NO_FORMULAS}" id="data-{name}">'
        f"<summary>{kept:,} of {len(table):,} runs count: source, measurement, defects</summary>"
        f"<dl>{terms}</dl>{_defects(card, table)}"
        f"{f'<p>Before comparing these runs:</p><ul>{limits}</ul>' if limits else ''}"
        f"{_columns(card)}</details>"
    )


def _origin(table: pd.DataFrame) -> str:
    return f"{as_opening(str(table.attrs.get(ORIGIN, '')).partition(': ')[2])}."


def _defects(card: Card, table: pd.DataFrame) -> str:
    if not card.defects:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(defect.found)}</td><td>{html.escape(defect.rule)}</td>"
        f"<td>{html.escape(defect.effect)}{_rows_found(defect, table)}</td></tr>"
        for defect in card.defects
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Defect", "Rule", "Runs"))
    return (
        f'<div class="gcv-table" tabindex="0" role="region" aria-label="Defects of {card.key}">'
        f'<table class="gcv-data gcv-details"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _rows_found(defect: Defect, table: pd.DataFrame) -> str:
    columns = {
        "left out": "left_out",
        "correctness left out": "correctness_left_out",
        "kept": "marked",
    }
    column = columns.get(defect.effect)
    if column is None or column not in table:
        return ""
    return f": {int((table[column] == defect.key).sum()):,} of {len(table):,}"


def _columns(card: Card) -> str:
    rows = "".join(
        f"<tr><td><code>{html.escape(name)}</code></td><td>{html.escape(source)}</td></tr>"
        for name, source in card.columns.items()
    )
    return (
        "<details><summary>Columns and where they come from</summary>"
        f'<table class="gcv-data gcv-details"><tbody>{rows}</tbody></table></details>'
    )


def front_page_note(results: EvidenceResults) -> HTML:
    """Return what all measurements say, and how the original's headline changed, with links."""
    first, last = VERSIONS[0], VERSIONS[-1]
    return HTML(
        f'<p class="{NO_FORMULAS}">Across {count(len(results.tables), "published data set")}: '
        f"{html.escape(_lower(_at_margin(results)))} "
        '<a href="evidence.ipynb">What all measurements say</a>. '
        f"The original study first stated a saving of {first.said} ({first.date}), and last of "
        f"{last.said} ({last.date}). "
        '<a href="reanalysis.ipynb">What the published measurements support</a>.</p>'
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%".replace("-", _MINUS)


def _signed(value: float) -> str:
    return f"{value:z.3f}".replace("-", _MINUS)
