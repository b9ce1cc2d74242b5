"""The paper's claims in one table: published, recomputed, corrected, and what remains of each."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy import stats

from greencv_core.analysis import Saving, Unanswered, attempt, saving
from greencv_core.analysis.wording import listed, number, percent
from greencv_core.published.reanalysis import RQ1_ENVIRONMENT, RQ2_ARCHITECTURE, Reanalysis

CORRECTED = "ends_restored"
"""The variant with every correction that leaves the energy gross."""
FIRST_ABSTRACT, FINAL_ABSTRACT = 0.9883, 0.8138
"""The largest saving in the abstract of the paper's first and of its last version."""
LARGER_GPU, SMALLER_GPU = "Cloud", "Local ML"


@dataclass(frozen=True)
class Verdict:
    """One claim and what becomes of it."""

    claim: str
    published: str
    recomputed: str
    corrected: str
    verdict: str


def verdicts(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return claim, published, recomputed, corrected and verdict, a row each.

    Corrected are the epochs, the decimals of power and the lost ends of logs; energy stays gross.
    """
    headline, effects = reanalysis.headline(), reanalysis.effects.set_index("claim")
    rows = [
        _first_headline(headline),
        _saving_row(
            "Architecture and environment save up to 81.38 % (last version)",
            percent(FINAL_ABSTRACT, 2), headline["published"], headline[CORRECTED],
        ),
        *(
            _saving_row(claim, told, effects.loc[row, "published"], effects.loc[row, CORRECTED])
            for claim, told, row in (
                ("In Cloud, MobileNetV2 saves against VGG16", "64.38 %", "largest saving in Cloud"),
                ("In Local N, MobileNetV2 saves against NASNet", "76.10 %",
                 "largest saving in Local N"),
                ("MobileNetV2 saves by moving from Cloud to Local ML", "44.28 %",
                 f"{RQ2_ARCHITECTURE}, Cloud to Local ML"),
                ("MobileNetV2 saves by moving from Cloud to Local N", "40.33 %",
                 f"{RQ2_ARCHITECTURE}, Cloud to Local N"),
            )
        ),
        *(
            _test_row(reanalysis, claim, told, name)
            for claim, told, name in (
                ("RQ1: architectures differ in energy", "H = 127.05, eta squared 0.911",
                 "rq1_energy"),
                ("RQ1: architectures differ in GPU utilisation", "H = 133.35, eta squared 0.958",
                 "rq1_gpu_utilization"),
                ("RQ1: architectures differ in F1", "H = 108.29, eta squared 0.773", "rq1_f1"),
                ("RQ2: environments differ in energy", "H = 64.29, eta squared 0.716",
                 "rq2_energy"),
                ("RQ2: environments differ in GPU utilisation", "H = 79.12, eta squared 0.886",
                 "rq2_gpu_utilization"),
            )
        ),
        _correctness(reanalysis, headline["published"]),
        _scaling(reanalysis),
        _complexity(reanalysis),
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _shown(result: Saving | Unanswered, digits: int = 2) -> str:
    if isinstance(result, Unanswered):
        return "not known"
    return (
        f"{percent(result.saving, digits)}\n"
        f"({percent(result.ci_low, 1)} to {percent(result.ci_high, 1)})"
    )


def _first_headline(headline: dict[str, Saving | Unanswered]) -> Verdict:
    first, corrected = headline["first_formula"], headline[CORRECTED]
    return Verdict(
        "Architecture and environment save up to 98.83 % (first version)",
        percent(FIRST_ABSTRACT, 2),
        _shown(first),
        _shown(corrected),
        "Does not hold: the formula multiplied summed power by the duration, which is no energy. "
        "The authors corrected it themselves.",
    )


def _saving_row(
    claim: str, told: str, published: Saving | Unanswered, corrected: Saving | Unanswered
) -> Verdict:
    return Verdict(claim, told, _shown(published), _shown(corrected), _fate(published, corrected))


def _fate(published: Saving | Unanswered, corrected: Saving | Unanswered) -> str:
    if isinstance(published, Unanswered) or isinstance(corrected, Unanswered):
        return "Not decided: data are missing."
    same = published.from_condition == corrected.from_condition
    same = same and published.to_condition == corrected.to_condition
    if not same:
        return f"Changes: now {corrected.cheap} against {corrected.dear}."
    if corrected.ci_low <= 0:
        return "Does not hold: corrected, the interval includes no saving."
    points = 100 * (corrected.saving - published.saving)
    word = "higher" if points > 0 else "lower"
    moved = f"{number(abs(points))} percentage points {word} when corrected"
    inside = published.ci_low <= corrected.saving <= published.ci_high
    return f"Holds; {moved}, {'within' if inside else 'outside'} the published data's interval."


def _test_row(reanalysis: Reanalysis, claim: str, told: str, name: str) -> Verdict:
    published, corrected = (reanalysis.tests(v)[name] for v in ("published", CORRECTED))
    recomputed, mended = (
        f"H = {c.kruskal_h:.2f}, eta squared {c.eta_squared:.3f}" for c in (published, corrected)
    )
    if not corrected.significant:
        fate = "Does not hold when corrected."
    elif recomputed == mended:
        fate = "Holds; the corrections do not touch it."
    else:
        fate = "Holds; every pair told apart before still is." if _same_pairs(
            published.pairs, corrected.pairs
        ) else "Holds; not all the same pairs are told apart."  # fmt: skip
    return Verdict(claim, told, recomputed, mended, fate)


def _same_pairs(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    return bool(((a["dunn_p_holm"] < 0.05) == (b["dunn_p_holm"] < 0.05)).all())


def _correctness(reanalysis: Reanalysis, result: Saving | Unanswered) -> Verdict:
    claim, told = "The largest saving costs a negligible loss of correctness", "no margin stated"
    if isinstance(result, Unanswered):
        return Verdict(claim, told, "not known", "not known", "Not decided: data are missing.")
    f1 = reanalysis.runs().groupby(["architecture", "environment"])["f1"].median()
    dear, cheap = (
        f1[c["architecture"], c["environment"]]
        for c in (result.from_condition, result.to_condition)
    )
    return Verdict(
        claim,
        told,
        f"median F1 {cheap:.3f} instead of {dear:.3f}",
        "the same",
        "Holds if that is negligible for the task at hand: a margin would have to be stated "
        "beforehand.",
    )


def _scaling(reanalysis: Reanalysis) -> Verdict:
    """Tell for which architectures the larger GPU takes less than the smaller."""
    told = []
    for variant in ("published", CORRECTED):
        runs = reanalysis.runs(variant)
        pays = [
            architecture
            for architecture in runs["architecture"].unique()
            if (s := attempt(saving, runs, _there(architecture, SMALLER_GPU),
                             _there(architecture, LARGER_GPU)))
            and isinstance(s, Saving) and s.ci_low > 0
        ]  # fmt: skip
        told.append(listed(pays) or "none")
    holds = told[0] == told[1]
    return Verdict(
        "GPUs should scale with the complexity of the model",
        "qualitative",
        f"{LARGER_GPU} takes less than {SMALLER_GPU} for: {told[0]}",
        f"for: {told[1]}",
        f"{'Holds' if holds else 'Changes'}: of two GPUs that differ in more than size, and for "
        "the most complex architecture alone.",
    )


def _there(architecture: str, environment: str) -> dict[str, object]:
    return {"architecture": architecture, "environment": environment}


def _complexity(reanalysis: Reanalysis) -> Verdict:
    told = []
    for variant in ("published", CORRECTED):
        runs = reanalysis.runs(variant)
        each = [
            (name, stats.spearmanr(part["energy_j_per_image"], part["gflops_per_image"]).statistic)
            for name, part in runs.groupby("environment", sort=False)
            if name in (RQ1_ENVIRONMENT, SMALLER_GPU)
        ]
        told.append(", ".join(f"{name} {rho:.3f}" for name, rho in each))
    return Verdict(
        "Energy rises with GFLOPs (Spearman's rho)",
        "Local ML 0.968, Cloud 0.835",
        told[0],
        told[1],
        "Holds within these five architectures.",
    )
