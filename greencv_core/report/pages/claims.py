"""Tables of the original study's claims, tested on other runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from greencv_core.analysis import Unavailable, weakest_provenance
from greencv_core.published.claims import Replication
from greencv_core.report.exhibits.exhibit import Exhibit, table_exhibit
from greencv_core.report.exhibits.tables import collapsible_tables, show_table, to_csv_frame

_HEADINGS = {
    "claim": "Claim",
    "verdict": "Verdict",
    "here": "These runs say",
    "original": "The original found",
    "n": "n",
}


def claims_table(replication: Replication) -> Exhibit:
    """Return each claim, its verdict, and both figures."""
    caption = (
        "The claims of del Rey et al. (2023), put to these runs; energy "
        f"{weakest_provenance(replication.runs)}; 95 % intervals"
    )
    return show_table(_shown(replication), caption, runs=replication.runs, data=replication.claims)


def other_claims_table(others: Mapping[str, Replication | Unavailable]) -> Exhibit | None:
    """Return the same for other runs, keyed by their name: a table for each opens on demand.

    None where no others have an answer.
    """
    known = {name: other for name, other in others.items() if isinstance(other, Replication)}
    if not known:
        return None
    body = collapsible_tables({name: _shown(other) for name, other in known.items()})
    data = pd.concat([other.claims.assign(runs=name) for name, other in known.items()])
    exhibit = table_exhibit("The same claims, put to other runs", body, to_csv_frame(data))
    behind = pd.concat([other.runs[["run_id"]] for other in known.values()])
    return replace(
        exhibit.with_runs(behind), notes=("n = runs that a verdict rests on, in the last column",)
    )


def _shown(replication: Replication) -> pd.DataFrame:
    return replication.claims[list(_HEADINGS)].rename(columns=_HEADINGS)
