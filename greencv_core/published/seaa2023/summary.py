"""The re-analysis as one JSON object."""

from __future__ import annotations

from typing import Any

from greencv_core.analysis import Saving, Unavailable, attempt
from greencv_core.published.seaa2023.claims import claims_table
from greencv_core.published.seaa2023.reanalysis import CORRECTED, Reanalysis, Removals
from greencv_core.published.seaa2023.runs import COMMIT, CONDITION, DOI, NAME
from greencv_core.published.seaa2023.sessions import session_headline

_RENAMED = {
    "device_utilization_pct": "gpu_utilization_pct",
    "duration_ms_per_image": "ms_per_image",
}


def summary(reanalysis: Reanalysis) -> dict[str, Any]:
    """Return the recomputed data, headline, medians and tests, and the number of agreeing claims.

    ``headline`` excludes the runs that the original removed by hand, ``headline_by_rule`` those
    that the declared rule removes; ``headline_all_runs`` has all runs. ``of_medians`` is computed
    as the original does, ``saving`` and its interval from geometric means.
    ``headline_by_sessions`` is the corrected headline of all runs with sessions as units.
    """
    claims = claims_table(reanalysis)
    columns = [*CONDITION, "n", "energy_j_per_image", *_RENAMED, "f1"]
    medians = reanalysis.medians()[columns].rename(columns=_RENAMED)
    return {
        "data": {
            "name": NAME,
            "doi": DOI,
            "commit": COMMIT,
            "runs": len(reanalysis.table),
            "runs_from_raw_logs": int(reanalysis.every_run["from_raw"].sum()),
            "logs": reanalysis.raw.sentence(),
            "problems": list(reanalysis.problems),
        },
        "headline": _headline(reanalysis, "by_hand"),
        "headline_all_runs": _headline(reanalysis, "none"),
        "headline_by_rule": _headline(reanalysis, "rule"),
        "headline_by_sessions": _by_sessions(reanalysis),
        "medians": medians.to_dict("records"),
        "tests": {
            name: {"h": test.kruskal_h, "p": test.kruskal_p, "eta_squared": test.eta_squared}
            for name, test in reanalysis.tests().items()
        },
        "claims": {
            "figures": len(claims),
            "agreeing": int(claims["agrees"].sum()),
            "not_known": int(claims["recomputed"].isna().sum()),
            "by_source": {
                name: {"figures": len(some), "agreeing": int(some["agrees"].sum())}
                for name, some in claims.groupby("source", sort=False)
            },
            "disagreeing": claims[~claims["agrees"]][["part", "claim", "published"]].to_dict(
                "records"
            ),
        },
    }


def _headline(reanalysis: Reanalysis, removals: Removals) -> dict[str, Any]:
    return {
        variant: _saving(
            result, int(reanalysis.runs(variant, removals)["energy_j_per_image"].count())
        )
        for variant, result in reanalysis.headline(removals).items()
    }


def _by_sessions(reanalysis: Reanalysis) -> dict[str, Any]:
    found = attempt(session_headline, reanalysis.runs(CORRECTED, "none"))
    if isinstance(found, Unavailable):
        return {"reason": found.reason}
    by_sessions = found.by_sessions
    return {
        "saving": by_sessions.saving,
        "ci_low": by_sessions.ci_low,
        "ci_high": by_sessions.ci_high,
        "from": dict(by_sessions.from_condition),
        "to": dict(by_sessions.to_condition),
        "sessions_from": by_sessions.sessions_from,
        "sessions_to": by_sessions.sessions_to,
        "reason": None,
    }


def _saving(result: Saving | Unavailable, n_runs: int) -> dict[str, Any]:
    known = result if isinstance(result, Saving) else None
    return {
        "of_medians": known and known.of_medians,
        "saving": known and known.saving,
        "ci_low": known and known.ci_low,
        "ci_high": known and known.ci_high,
        "from": known and dict(known.from_condition),
        "to": known and dict(known.to_condition),
        "n_runs": n_runs,
        "n_from": known and known.n_from,
        "n_to": known and known.n_to,
        "reason": result.reason if isinstance(result, Unavailable) else None,
    }
