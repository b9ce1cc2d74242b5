"""Verdict on each of the paper's claims: published, recomputed, corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from greencv_core.analysis import (
    Saving,
    Unavailable,
    attempt,
    break_even,
    cliffs_delta,
    saving,
)
from greencv_core.analysis.comparison.noninferiority import DEFAULT_MARGIN
from greencv_core.analysis.images import image_error_sentence
from greencv_core.analysis.result import ALPHA
from greencv_core.analysis.selection import runs_of
from greencv_core.published.claim_differences import ask_correlation
from greencv_core.published.claim_matching import ask_matching
from greencv_core.published.claim_savings import compare_saving
from greencv_core.published.seaa2023.claims import printed, quote_correlation, quote_test
from greencv_core.published.seaa2023.history import headline_loss
from greencv_core.published.seaa2023.reanalysis import (
    CORRECTED,
    CORRECTNESS,
    IDLE,
    NET_OF,
    QUESTIONS,
    RQ1_ENVIRONMENT,
    RQ2_ARCHITECTURE,
    SMALLER_GPU,
    Reanalysis,
)
from greencv_core.published.seaa2023.runs import signed_percent
from greencv_core.utils.text import as_opening, listed, number, p_value, percent

FINAL_ABSTRACT = 0.8138
"""Largest saving in the abstract of the paper's last version, cut and not rounded."""
_UNDECIDED = "Not decided: data are missing."
_SAVINGS = (
    ("In Cloud, MobileNetV2 saves against VGG16", "Cloud/max", "largest saving in Cloud"),
    ("In Local N, MobileNetV2 saves against NASNet", "Local N/max", "largest saving in Local N"),
    (
        "MobileNetV2 saves by moving from Cloud to Local ML",
        f"{RQ2_ARCHITECTURE}/Cloud-Local ML",
        f"{RQ2_ARCHITECTURE}, Cloud to Local ML",
    ),
    (
        "MobileNetV2 saves by moving from Cloud to Local N",
        f"{RQ2_ARCHITECTURE}/Cloud-Local N",
        f"{RQ2_ARCHITECTURE}, Cloud to Local N",
    ),
)
"""Claim, its figure among the printed savings, and its row of :attr:`Reanalysis.effects`."""
_TESTS = {
    "rq1_energy": "RQ1: architectures differ in energy",
    "rq1_gpu_utilization": "RQ1: architectures differ in GPU utilisation",
    "rq1_f1": "RQ1: architectures differ in F1",
    "rq2_energy": "RQ2: environments differ in energy",
    "rq2_gpu_utilization": "RQ2: environments differ in GPU utilisation",
}


@dataclass(frozen=True)
class Verdict:
    """One claim and its verdict."""

    claim: str
    published: str
    recomputed: str
    corrected: str
    verdict: str


def verdicts(reanalysis: Reanalysis) -> pd.DataFrame:
    """Return a row per claim: claim, published, recomputed, corrected and verdict.

    Corrections are of the epochs, the decimals of power and the lost ends of logs. Energy stays
    gross; the verdict on a saving also gives its net value.
    """
    headline, effects = reanalysis.headline(), reanalysis.effects.set_index("claim")
    rows = [
        _judge_first_headline(headline),
        _judge_saving(
            "Architecture and environment save up to 81.38% (second version)",
            FINAL_ABSTRACT,
            headline,
        ),
        *(
            _judge_saving(claim, printed("savings", figure), effects.loc[row].to_dict())
            for claim, figure, row in _SAVINGS
        ),
        *(_judge_test(reanalysis, claim, name) for name, claim in _TESTS.items()),
        _judge_correctness(reanalysis, headline),
        _judge_scaling(reanalysis),
        _judge_complexity(reanalysis),
    ]
    return pd.DataFrame(rows)


def _recomputed(result: Saving | Unavailable) -> str:
    """Return the saving of medians, as the original computes it."""
    return "unknown" if isinstance(result, Unavailable) else percent(result.of_medians, 2)


def _shown(result: Saving | Unavailable, digits: int = 2) -> str:
    if isinstance(result, Unavailable):
        return "unknown"
    span = f"({100 * result.ci_low:.1f} to {percent(result.ci_high)})"
    return f"{percent(result.saving, digits)}\n{span}".replace(" ", "\N{NO-BREAK SPACE}")


def _judge_first_headline(headline: dict[str, Saving | Unavailable]) -> Verdict:
    first, corrected = headline["first_formula"], headline[CORRECTED]
    if isinstance(first, Unavailable) or isinstance(corrected, Unavailable):
        verdict = _UNDECIDED
    elif corrected.ci_high < first.ci_low:
        verdict = (
            "Does not hold: summed power times duration is not an energy. The authors corrected it "
            "themselves."
        )
    else:
        verdict = "Not refuted by these runs, but the formula does not give an energy."
    return Verdict(
        "Architecture and environment save up to 98.83% (first version)",
        percent(printed("first version", "max"), 2),
        _recomputed(first),
        _shown(corrected),
        verdict,
    )


def _judge_saving(
    claim: str, theirs: float, results: Mapping[str, Saving | Unavailable]
) -> Verdict:
    published, corrected = results["published"], results[CORRECTED]
    net = net_saving(corrected, [results[variant] for variant in IDLE])
    verdict = _compare(theirs, published, corrected)
    if verdict.startswith("Holds") and _lost_net(results):
        verdict = f"Holds in part, only gross{verdict.removeprefix('Holds')}"
    return Verdict(
        claim,
        percent(theirs, 2),
        _recomputed(published),
        _shown(corrected),
        f"{verdict} {net}".strip(),
    )


def _compare(
    theirs: float, published: Saving | Unavailable, corrected: Saving | Unavailable
) -> str:
    if isinstance(published, Unavailable) or isinstance(corrected, Unavailable):
        return _UNDECIDED
    if not _same_conditions(published, corrected):
        return f"Changes: now {corrected.cheap} against {corrected.dear}."
    if published.n_from + published.n_to != corrected.n_from + corrected.n_to:
        return _UNDECIDED
    if corrected.ci_low <= 0:
        return "Does not hold: once corrected, the interval includes 0."
    points = 100 * (corrected.saving - published.saving)
    word = "higher" if points > 0 else "lower"
    _, verdict = compare_saving(theirs, corrected.ci_low, corrected.ci_high)
    return f"{verdict} Corrected, it is {number(abs(points))} percentage points {word}."


def _lost_net(results: Mapping[str, Saving | Unavailable]) -> bool:
    """Return whether no saving is left net of an idle power."""
    nets = [results[variant] for variant in IDLE]
    return any(isinstance(net, Saving) and net.ci_low <= 0 for net in nets)


def net_saving(gross: Saving | Unavailable, nets: Sequence[Saving | Unavailable]) -> str:
    """Say how large a saving is net of each idle power."""
    if isinstance(gross, Unavailable):
        return ""
    known = [net for net in nets if isinstance(net, Saving)]
    if len(known) < len(nets):
        return "Net energy is unknown." if not known else ""
    low, high = (choose(net.saving for net in known) for choose in (min, max))
    span = f"{signed_percent(low)} to {signed_percent(high)}"
    if any(not _same_conditions(net, gross) for net in known):
        span += " (partly between other pairs)"
    lost = sum(net.ci_low <= 0 for net in known)
    left = f"; {lost} of {len(known)} definitions of idle leave no saving" if lost else ""
    return f"Net of idle power, it is {span}{left}."


def _same_conditions(a: Saving, b: Saving) -> bool:
    return a.from_condition == b.from_condition and a.to_condition == b.to_condition


def _judge_test(reanalysis: Reanalysis, claim: str, name: str) -> Verdict:
    published, corrected = (
        attempt(reanalysis.test, name, variant) for variant in ("published", CORRECTED)
    )
    if isinstance(published, Unavailable) or isinstance(corrected, Unavailable):
        return Verdict(claim, quote_test(name), "unknown", "unknown", _UNDECIDED)
    recomputed, mended = (
        f"H = {c.kruskal_h:.2f}, eta squared {c.eta_squared:.3f}" for c in (published, corrected)
    )
    if published.groups["n"].sum() != corrected.groups["n"].sum():
        verdict = _UNDECIDED
    elif not corrected.significant:
        verdict = "Does not hold once corrected."
    elif QUESTIONS[name][1] != "energy_j_per_image":
        verdict = "Holds; the corrections change energy only."
    elif _same_pairs(published.pairs, corrected.pairs):
        verdict = "Holds; the same pairs differ significantly."
    else:
        verdict = "Holds, but not all the same pairs differ significantly."
    if name == "rq2_energy":
        verdict = f"{verdict} {_order_net(reanalysis)}".strip()
    return Verdict(claim, quote_test(name), recomputed, mended, verdict)


def _order_net(reanalysis: Reanalysis) -> str:
    """Say whether the environments with logs keep their order net of each idle power."""
    deltas = []
    for variant in (CORRECTED, *IDLE):
        runs = reanalysis.runs(variant)
        runs = runs[runs["architecture"] == RQ2_ARCHITECTURE].dropna(subset=["energy_j_per_image"])
        larger, smaller = (
            runs.loc[runs["environment"] == name, "energy_j_per_image"].to_numpy(dtype=float)
            for name in (RQ1_ENVIRONMENT, SMALLER_GPU)
        )
        if not len(larger) or not len(smaller):
            return ""
        deltas.append(cliffs_delta(larger, smaller))
    gross, *nets = deltas
    net = ", ".join(f"{delta:z.2f}" for delta in nets).replace("-", "\N{MINUS SIGN}")
    return (
        f"{RQ1_ENVIRONMENT} against {SMALLER_GPU}: Cliff's delta is {gross:.2f} gross, and {net} "
        "net of the low-power state, of idle before and of idle after work."
    )


def _same_pairs(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    both = a.merge(b, on=["a", "b"], how="outer", suffixes=("_a", "_b"))
    p_a, p_b = both["dunn_p_holm_a"], both["dunn_p_holm_b"]
    alike = ((p_a < ALPHA) == (p_b < ALPHA)) & p_a.notna() & p_b.notna()
    return bool(alike.all())


def _judge_correctness(
    reanalysis: Reanalysis, headline: dict[str, Saving | Unavailable]
) -> Verdict:
    runs = reanalysis.runs()

    def of_both(result: Saving) -> list[pd.DataFrame]:
        return [runs_of(runs, end) for end in (result.from_condition, result.to_condition)]

    def shown(result: Saving | Unavailable) -> str:
        if isinstance(result, Unavailable):
            return "unknown"
        dear, cheap = (float(part[CORRECTNESS].median()) for part in of_both(result))
        return f"median F1 {cheap:.3f} instead of {dear:.3f}"

    corrected = headline[CORRECTED]
    loss = attempt(headline_loss, reanalysis.runs(CORRECTED, "none"))
    verdict = _UNDECIDED
    if isinstance(corrected, Saving) and not isinstance(loss, Unavailable):
        test = loss.test
        verdict = (
            f"{'Holds' if test.passes else 'Not shown'} at our margin of "
            f"{100 * DEFAULT_MARGIN:g} points: mean F1 is lower by {test.loss:.3f}, and by up to "
            f"{test.loss_high:.3f} (95%; non-inferiority test, {p_value(test.p)}). "
            f"{image_error_sentence(pd.concat(of_both(corrected)), CORRECTNESS)}"
        ).replace("-0.", "\N{MINUS SIGN}0.")
    return Verdict(
        "The largest saving costs a negligible loss of correctness",
        "no margin stated",
        shown(headline["published"]),
        shown(corrected),
        verdict,
    )


def _judge_scaling(reanalysis: Reanalysis) -> Verdict:
    """Judge for which architectures the larger GPU uses less energy than the smaller."""
    published, corrected = (_larger_pays(reanalysis, v) for v in ("published", CORRECTED))
    nets = [_larger_pays(reanalysis, variant) for variant in IDLE]
    if corrected is None or published is None:
        verdict = _UNDECIDED
    else:
        answer = ask_matching(reanalysis.runs(CORRECTED))
        standing = as_opening(answer.standing) if published == corrected else "Changes if corrected"
        energies = {"gross": corrected, **dict(zip(NET_OF.values(), nets, strict=True))}
        verdict = (
            f"{standing}: {RQ1_ENVIRONMENT} uses less energy than {SMALLER_GPU} for "
            f"{_by_energy(energies)}. {_break_even(reanalysis)}"
        )
    return Verdict(
        "GPUs should scale with the complexity of the model",
        "no figure",
        f"{RQ1_ENVIRONMENT} uses less than {SMALLER_GPU} for: {_list_or_none(published)}",
        _list_or_none(corrected),
        verdict,
    )


def _by_energy(paying: Mapping[str, list[str] | None]) -> str:
    """Return the architectures of each energy: ``none (gross), vgg16 (net of x)``."""
    return ", ".join(f"{_list_or_none(some)} ({of})" for of, some in paying.items())


def _break_even(reanalysis: Reanalysis) -> str:
    """Say above which complexity the larger GPU uses less energy, with every correction."""
    result = attempt(break_even, reanalysis.runs(CORRECTED), SMALLER_GPU, RQ1_ENVIRONMENT)
    if isinstance(result, Unavailable):
        return ""
    span = f"{number(result.lowest)} and {number(result.highest)} GFLOPs"
    if result.excluded:
        return f"A break-even between {span} is ruled out."
    if not result.inside:
        return f"A line through the architectures has no break-even between {span}."
    return f"A line through the architectures breaks even at {number(result.gflops)} GFLOPs."


def _larger_pays(reanalysis: Reanalysis, variant: str) -> list[str] | None:
    """Return the architectures, by complexity, that the larger GPU trains with less energy.

    Or None if an architecture has no answer.
    """
    runs = reanalysis.runs(variant)
    both = runs[runs["environment"].isin((RQ1_ENVIRONMENT, SMALLER_GPU))]
    gflops = both.groupby("architecture")["gflops_per_image"].median().sort_values()
    paying = []
    for architecture in gflops.index:
        smaller, larger = (
            {"architecture": architecture, "environment": name}
            for name in (SMALLER_GPU, RQ1_ENVIRONMENT)
        )
        result = attempt(saving, runs, smaller, larger)
        if isinstance(result, Unavailable):
            return None
        if result.ci_low > 0:
            paying.append(architecture)
    return paying


def _list_or_none(architectures: list[str] | None) -> str:
    if architectures is None:
        return "unknown"
    return listed(architectures) or "none"


def _judge_complexity(reanalysis: Reanalysis) -> Verdict:
    texts: list[str] = []
    every: list[float] = []
    for variant in ("published", CORRECTED):
        runs = reanalysis.runs(variant).dropna(subset=["energy_j_per_image"])
        each = {
            name: float(
                stats.spearmanr(part["energy_j_per_image"], part["gflops_per_image"]).statistic
            )
            for name, part in runs.groupby("environment", sort=False)
            if name in (RQ1_ENVIRONMENT, SMALLER_GPU)
        }
        texts.append(", ".join(f"{name} {rho:.3f}" for name, rho in each.items()))
        every += each.values()
    known = reanalysis.runs(CORRECTED).dropna(subset=["energy_j_per_image"])
    answer = ask_correlation("gflops_per_image", "energy_j_per_image", known)
    return Verdict(
        "Energy rises with GFLOPs (Spearman's rho)",
        quote_correlation("energy", "gflops"),
        texts[0],
        texts[1],
        f"{answer.verdict} With architectures as units: {answer.here}. Over runs, rho is at least "
        f"{min(every):.2f}.".replace("\n", "; "),
    )
