"""The original study's claims on every data set: a matrix of verdicts with its details."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd

from greencv_core.published.claims import by_chance, claim_texts
from greencv_core.published.evidence_results import EvidenceResults
from greencv_core.report.exhibits.exhibit import Exhibit, table_exhibit
from greencv_core.report.exhibits.labels import with_names
from greencv_core.report.exhibits.markdown import NO_FORMULAS
from greencv_core.report.exhibits.sources import short_source
from greencv_core.report.exhibits.tables import to_csv_frame
from greencv_core.utils.text import listed

_IN_A_SENTENCE = {
    "holds": ("holds", "hold"),
    "holds in part": ("holds in part", "hold in part"),
    "does not hold": ("does not hold", "do not hold"),
    "not shown": ("is not shown", "are not shown"),
}
_SHARES = ("largest_saving", "saving_without_loss")
VERDICT_CLASSES = {
    "holds": "yes",
    "holds in part": "part",
    "does not hold": "no",
    "not shown": "open",
    "cannot be tested": "none",
}
_MINUS = "\N{MINUS SIGN}"


def claims_matrix(results: EvidenceResults) -> Exhibit:
    """Return a table with a verdict for each claim and source; each leads to its details."""
    sources = results.sources
    head = "".join(
        f'<th scope="col"><a href="#data-{_anchor(name)}">'
        f"{html.escape(short_source(name))}</a></th>"
        for name in sources
    )
    body = "".join(
        f'<tr><th scope="row">{html.escape(_short(text))}</th>'
        + "".join(_cell(key, name, source["claims"][key]) for name, source in sources.items())
        + "</tr>"
        for key, text in claim_texts().items()
    )
    caption = (
        "The claims of del Rey et al. on each data set: verdict and figure. Select a verdict to "
        "see its details"
    )
    table = (
        f'<table class="gcv-data gcv-matrix {NO_FORMULAS}"><thead><tr><th scope="col">Claim</th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table>"
    )
    return table_exhibit(caption, table, to_csv_frame(_frame(results)))


def _cell(key: str, name: str, claim: Mapping[str, Any]) -> str:
    verdict = str(claim["verdict"])
    figure = claim["figure"]
    shown = "" if figure is None else f"<small>{_figure(key, figure)}</small>"
    return (
        f'<td class="gcv-verdict-{VERDICT_CLASSES[verdict]}">'
        f'<a href="#{_detail(key, name)}">{html.escape(verdict)}</a>{shown}</td>'
    )


def claim_details(results: EvidenceResults) -> Exhibit:
    """Return a folded table for each claim: verdict, estimates and reason for each source."""
    parts = []
    for key, text in claim_texts().items():
        rows = "".join(
            _detail_row(key, name, source["claims"][key])
            for name, source in results.sources.items()
        )
        parts.append(
            f"<details><summary>{html.escape(text)}</summary>"
            f'<table class="gcv-data gcv-details {NO_FORMULAS}"><thead><tr>'
            + "".join(
                f'<th scope="col">{name}</th>'
                for name in ("Data set", "Verdict", "What the runs say", "Runs")
            )
            + f"</tr></thead><tbody>{rows}</tbody></table></details>"
        )
    exhibit = table_exhibit(
        "Details of each verdict, and the number of runs behind it", "".join(parts),
        to_csv_frame(_frame(results)),
    )  # fmt: skip
    return exhibit


def _detail_row(key: str, name: str, claim: Mapping[str, Any]) -> str:
    texts = (claim["explanation"], claim["estimates"], str(claim["n"]) if claim["n"] else "")
    return (
        f'<tr id="{_detail(key, name)}"><th scope="row">{html.escape(short_source(name))}</th>'
        + "".join(f"<td>{html.escape(with_names(cell))}</td>" for cell in texts)
        + "</tr>"
    )


def verdict_counts_sentence(results: EvidenceResults) -> str:
    """Say how many verdicts there are of each kind."""
    verdicts = _frame(results)["verdict"]
    asked = verdicts[verdicts != "cannot be tested"]
    counts = asked.value_counts()
    named = [
        f"{counts[verdict]} {one if counts[verdict] == 1 else many}"
        for verdict, (one, many) in _IN_A_SENTENCE.items()
        if verdict in counts
    ]
    return (
        f"{len(asked)} of {len(verdicts)} pairs of claim and data set can be tested: "
        f"{listed(named)}. {by_chance(len(asked))}"
    )


def split_claims(results: EvidenceResults) -> list[str]:
    """Return a sentence for each claim that data sets answer differently."""
    sentences = []
    for claim, part in _frame(results).groupby("claim", sort=False):
        sides = {}
        for verdict in ("holds", "holds in part", "does not hold"):
            names = part.loc[part["verdict"] == verdict, "source"]
            if len(names):
                sides[verdict] = listed([short_source(name) for name in names])
        if len(sides) > 1 or "does not hold" in sides:
            said = "; ".join(f"{verdict} for {names}" for verdict, names in sides.items())
            sentences.append(
                f"\N{LEFT DOUBLE QUOTATION MARK}{_short(str(claim))}"
                f"\N{RIGHT DOUBLE QUOTATION MARK} {said}."
            )
    return sentences


def _frame(results: EvidenceResults) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"id": key, "source": name, **source["claims"][key], "claim": text}
            for key, text in claim_texts().items()
            for name, source in results.sources.items()
        ]
    )


def _short(text: str) -> str:
    return text.partition(":")[0]


def _figure(key: str, figure: float) -> str:
    shown = f"{100 * figure:.0f}%" if key in _SHARES else f"{figure:.2f}"
    return shown.replace("-", _MINUS)


def _detail(key: str, name: str) -> str:
    return f"claim-{key}-{_anchor(name)}".replace("_", "-")


def _anchor(name: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in name.lower())
