"""Tables of the original study's claims, tested on other runs."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from greencv_core.analysis import Unavailable, weakest_provenance
from greencv_core.published.claims import Replication, claim_texts
from greencv_core.report.exhibits.exhibit import Exhibit, table_exhibit
from greencv_core.report.exhibits.markdown import NO_FORMULAS
from greencv_core.report.exhibits.tables import collapsible_tables, to_csv_frame
from greencv_core.report.pages.evidence_claims import VERDICT_CLASSES

_HEADINGS = {
    "claim": "Claim",
    "verdict": "Verdict",
    "original": "The original found",
    "here": "These runs show",
    "n": "n",
}
_OPENED, _FOLDED = ["claim", "verdict", "original"], ["claim", "here", "n"]


def verdicts_matrix(
    replication: Replication, others: Mapping[str, Replication | Unavailable]
) -> Exhibit:
    """Return the verdict on each claim, from these runs and from others, keyed by their name."""
    sources = {"These runs": replication, **_known(others)}
    verdicts = {name: r.claims.set_index("id")["standing"] for name, r in sources.items()}
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ("Claim", *sources))
    body = "".join(
        f'<tr><th scope="row">{html.escape(text.partition(":")[0])}</th>'
        + "".join(_cell(str(verdicts[name][key])) for name in sources)
        + "</tr>"
        for key, text in claim_texts().items()
    )
    table = (
        f'<table class="gcv-data gcv-matrix {NO_FORMULAS}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )
    data = pd.DataFrame({"claim": claim_texts(), **verdicts})
    exhibit = table_exhibit(
        "Verdicts on the claims of del Rey et al. (2023)", table, to_csv_frame(data)
    )
    return exhibit.with_runs(replication.runs)


def _cell(verdict: str) -> str:
    return f'<td class="gcv-verdict-{VERDICT_CLASSES[verdict]}">{html.escape(verdict)}</td>'


def claims_table(replication: Replication) -> Exhibit:
    """Return each claim, its verdict and the original's figure; to open: the estimates."""
    caption = (
        "Why each verdict, and what the original found; energy "
        f"{weakest_provenance(replication.runs)}; to open: estimates with 95% intervals and n"
    )
    body = collapsible_tables(
        {"What these runs show: estimates and tests": _shown(replication, _FOLDED)},
        _shown(replication, _OPENED),
    )
    exhibit = table_exhibit(caption, body, to_csv_frame(replication.claims))
    return exhibit.with_runs(replication.runs)


def other_claims_table(others: Mapping[str, Replication | Unavailable]) -> Exhibit | None:
    """Return the same for other runs, keyed by their name: a table for each opens on demand.

    None where no others have an answer.
    """
    known = _known(others)
    if not known:
        return None
    columns = [*_OPENED, "here", "n"]
    body = collapsible_tables({name: _shown(other, columns) for name, other in known.items()})
    data = pd.concat([other.claims.assign(runs=name) for name, other in known.items()])
    exhibit = table_exhibit("The same claims, tested on other runs", body, to_csv_frame(data))
    behind = pd.concat([other.runs[["run_id"]] for other in known.values()])
    return replace(exhibit.with_runs(behind), notes=("n = runs behind a verdict",))


def _known(others: Mapping[str, Replication | Unavailable]) -> dict[str, Replication]:
    return {name: other for name, other in others.items() if isinstance(other, Replication)}


def _shown(replication: Replication, columns: list[str]) -> pd.DataFrame:
    return replication.claims[columns].rename(columns=_HEADINGS)
