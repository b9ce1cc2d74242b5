"""The original study's claims, tested on other runs: our own, published, or a user's table.

One table is one source. Each claim is asked within each data set of it, never across; a claim about
energy, gross and net of each idle power that is known. What a quantity does with complexity is
tested with architectures as units. With one run a condition, a saving has a figure and no interval,
so that none is shown; and a difference between architectures (or environments) is tested over
environments (or architectures) as blocks. What is true by construction, such as the utilisation of
a CPU by its threads, or a value that never varies, cannot be tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from greencv_core.analysis import weakest_provenance
from greencv_core.analysis.comparison.noninferiority import DEFAULT_MARGIN
from greencv_core.analysis.result import ALPHA
from greencv_core.published.claim_answers import (
    CONDITIONS,
    ENERGY,
    GFLOPS,
    UTILISATION,
    Answer,
    Choice,
    Standing,
    Terms,
    combine,
)
from greencv_core.published.claim_differences import (
    ask_architectures,
    ask_correlation,
    ask_environments,
)
from greencv_core.published.claim_energies import ask_gross_and_net, known_net
from greencv_core.published.claim_matching import ask_matching
from greencv_core.published.claim_savings import (
    ask_largest_saving,
    ask_saving_without_loss,
    gflops_span,
)
from greencv_core.published.seaa2023.claims import (
    CORRELATED,
    printed,
    quote_correlation,
    quote_test,
)
from greencv_core.published.tables import count_devices, counted_runs
from greencv_core.utils.answers import remembered
from greencv_core.utils.text import as_opening, count, listed, percent

Ask = Callable[[Terms, pd.DataFrame], Answer]
GFLOPS_SPAN = (0.0640282, 10.0288)
"""GFLOPs per image of the original's smallest and largest architecture."""
_COUNTED: tuple[tuple[Standing, str, str], ...] = (
    ("holds", "holds", "hold"),
    ("holds in part", "holds in part", "hold in part"),
    ("does not hold", "does not hold", "do not hold"),
    ("not shown", "is not shown", "are not shown"),
    ("cannot be tested", "cannot be tested", "cannot be tested"),
)
"""Each verdict in a sentence, of one claim and of several."""


_NOT_OF_ENERGY = {
    "architectures_utilisation",
    "architectures_correctness",
    "environments_utilisation",
    "utilisation_gflops",
}


@dataclass(frozen=True)
class Claim:
    """One claim of the original study, and what other runs show."""

    id: str
    claim: str
    original: str
    here: str
    """Estimates with their 95% intervals, or tests; empty if the claim cannot be tested."""
    figure: float | None
    """Eta squared (with one run a condition, Kendall's W), saving, loss of correctness, rank
    correlation or exponent; of several, the one that supports the claim least."""
    ci_low: float | None
    ci_high: float | None
    """95% interval (of a loss, 90%); None where the figure has none."""
    n: int
    """Number of runs behind the verdict."""
    standing: Standing
    verdict: str


@dataclass(frozen=True)
class Replication:
    """The original study's claims, evaluated on other runs."""

    runs: pd.DataFrame
    claims: pd.DataFrame
    """One row per claim, with the fields of :class:`Claim`."""

    def sentence(self) -> str:
        """Say how many claims hold, on which device, and the provenance of the runs' energy."""
        if self.runs.empty:
            return "There are no runs to test the original's claims on."
        counts = self.claims["standing"].value_counts()
        parts = [
            f"{counts[standing]} {one if counts[standing] == 1 else many}"
            for standing, one, many in _COUNTED
            if standing in counts
        ]
        parts[0] = parts[0].replace(" ", f" of {len(self.claims)} claims ", 1)
        named = [name for name in ("device_name", "hardware") if name in self.runs]
        gross = "" if known_net(self.runs) else " and gross, because no idle power is known"
        devices = sorted(map(str, self.runs[named[0]].dropna().unique())) if named else []
        return (
            f"{listed(parts)}. The tests use "
            f"{count(len(self.runs), 'run')}{' on ' if devices else ''}{listed(devices)}; energy "
            f"is {weakest_provenance(self.runs)}{gross}. "
            f"{by_chance(len(self.claims) - counts.get('cannot be tested', 0))}"
        )


def by_chance(asked: int) -> str:
    """Say how many of so many verdicts would hold by chance."""
    if not asked:
        return "No claim could be tested, so none holds by chance."
    level = percent(ALPHA, 0)
    tested = "1 claim is tested" if asked == 1 else f"{asked} claims are tested, each"
    expected = f"up to {ALPHA * asked:.2g} would hold by chance"
    return f"{tested} at {level}: if none were true, {expected}."


@dataclass(frozen=True)
class _Question:
    id: str
    claim: str
    original: str
    ask: Ask
    worst: Choice = min

    @property
    def of_energy(self) -> bool:
        return self.id not in _NOT_OF_ENERGY


def evaluate_claims(
    runs: pd.DataFrame, margin: float = DEFAULT_MARGIN, *, correctness: str = "f1_macro"
) -> Replication:
    """Evaluate the original study's claims on a runs table.

    Parameters
    ----------
    margin
        Largest negligible loss of correctness, from 0 to 1.
    correctness
        Column of F1.
    """
    terms = Terms(margin, correctness, "F1")
    return _evaluate(runs, {name: (terms, part) for name, part in _by_dataset(runs).items()})


@remembered
def evaluate_evidence(table: pd.DataFrame, margin: float = DEFAULT_MARGIN) -> Replication:
    """Evaluate the claims on the evidence table of one source; see ``EVIDENCE_COLUMNS``.

    Runs with a reason in ``left_out`` do not count. Correctness goes by its name; where a data set
    has several, none of them counts. Without numbers of images, energy is that of a whole run.
    """
    kept = counted_runs(table)
    parts = {name: _prepare(part, margin) for name, part in _by_dataset(kept).items()}
    return _evaluate(kept, parts)


def count_conditions(runs: pd.DataFrame) -> int:
    """Return the number of conditions: data set, architecture and environment."""
    names = [*CONDITIONS, *(["dataset"] if "dataset" in runs else [])]
    return int(runs.groupby(names, dropna=False, observed=True).ngroups)


def _by_dataset(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    if "dataset" not in runs or runs["dataset"].nunique(dropna=False) < 2:
        return {"": runs}
    named = runs["dataset"].fillna("no data set named").astype(str)
    return {str(name): part for name, part in runs.groupby(named, sort=False)}


def _prepare(runs: pd.DataFrame, margin: float) -> tuple[Terms, pd.DataFrame]:
    """Complete an evidence table's quantities per image, and name its correctness."""
    images = runs.get("images_processed")
    derived = {}
    for name, total in ((ENERGY, "energy_j"), ("duration_s_per_image", "duration_s")):
        known = runs[name] if name in runs else pd.Series(float("nan"), runs.index)
        if images is not None and total in runs:
            known = known.fillna(runs[total] / images)
        derived[name] = known
    whole_runs = bool(derived[ENERGY].isna().all())
    if whole_runs:
        derived[ENERGY] = runs["energy_j"]
        derived["duration_s_per_image"] = runs.get("duration_s", derived["duration_s_per_image"])
    if "batch_size" in runs and "hardware" in runs:
        derived["device_batch"] = runs["batch_size"] / count_devices(runs["hardware"])
    runs = runs.assign(**derived)
    if "correctness" in runs and "correctness_left_out" in runs:
        uncounted = runs["correctness_left_out"].fillna("").ne("")
        runs["correctness"] = runs["correctness"].mask(uncounted)
    if "correctness" not in runs or runs["correctness"].isna().all():
        return Terms(margin, "correctness", "correctness", whole_runs), runs
    names = _names_of_correctness(runs)
    name = names[0] if len(names) == 1 else "correctness"
    if len(names) > 1:
        return Terms(margin, name, name, whole_runs), runs.assign(correctness=float("nan"))
    if name != "correctness":
        runs = runs.drop(columns=name, errors="ignore").rename(columns={"correctness": name})
    return Terms(margin, name, name, whole_runs), runs


def _names_of_correctness(runs: pd.DataFrame) -> list[str]:
    if "correctness_name" not in runs:
        return ["correctness"]
    taught = runs.loc[runs["correctness"].notna(), "correctness_name"]
    return [str(name) for name in taught.fillna("correctness").replace("", "correctness").unique()]


def _evaluate(runs: pd.DataFrame, parts: Mapping[str, tuple[Terms, pd.DataFrame]]) -> Replication:
    names = {terms.name for terms, _ in parts.values()}
    claims = []
    for question in _questions(names.pop() if len(names) == 1 else "correctness"):
        answers = {name: _ask(question, terms, part) for name, (terms, part) in parts.items()}
        answer = combine(answers, question.worst)
        claims.append(
            Claim(
                question.id, question.claim, question.original, answer.here, answer.figure,
                answer.ci_low, answer.ci_high, answer.n, answer.standing, answer.verdict,
            )
        )  # fmt: skip
    table = pd.DataFrame(claims)
    numbers = ["figure", "ci_low", "ci_high"]
    return Replication(runs, table.astype(dict.fromkeys(numbers, "float64")))


def _ask(question: _Question, terms: Terms, runs: pd.DataFrame) -> Answer:
    ask = partial(question.ask, terms)
    answer = ask_gross_and_net(ask, runs, question.worst) if question.of_energy else ask(runs)
    if terms.whole_runs and question.of_energy and answer.here:
        return replace(answer, here=f"Energy of whole runs. {answer.here}")
    return answer


def claim_texts() -> dict[str, str]:
    """Return each claim by its id, in words that fit every measure of correctness."""
    return {question.id: question.claim for question in _questions("correctness")}


def _questions(correctness: str) -> list[_Question]:
    """Return the claims, with the original's figures and the functions that ask them."""
    return [
        *_differences(correctness),
        _largest_saving(),
        _Question(
            "saving_without_loss",
            f"The largest saving costs a negligible loss of {correctness}",
            "Median F1 0.975 instead of 0.986; no margin stated, no test",
            ask_saving_without_loss,
            max,
        ),
        _correlation("energy_gflops", "Energy rises with GFLOPs", GFLOPS, ENERGY),
        _correlation(
            "utilisation_gflops", "Device utilisation rises with GFLOPs", GFLOPS, UTILISATION
        ),
        _correlation(
            "energy_utilisation", "Energy rises with device utilisation", UTILISATION, ENERGY
        ),
        _Question(
            "matching",
            "Hardware should match the model: simple architectures use less energy in the less "
            "powerful environment, complex ones in the more powerful",
            "No figure; Cloud used less than Local ML for VGG16 only",
            _of_runs(ask_matching),
            max,
        ),
    ]


def _differences(correctness: str) -> list[_Question]:
    def question(factor: str, key: str, what: str, test: str, prefix: str, ask: Ask) -> _Question:
        original = _quote(partial(quote_test, test), prefix)
        claim = f"{as_opening(factor)}s differ in {what}"
        return _Question(f"{factor}s_{key}", claim, original, ask)

    def of_correctness(terms: Terms, runs: pd.DataFrame) -> Answer:
        return ask_architectures(terms.column, runs)

    cloud, one = "Within Cloud, ", "MobileNetV2 alone, "
    busy, test = "device utilisation", "gpu_utilization"
    asks = [
        _of_runs(partial(ask, value))
        for ask in (ask_architectures, ask_environments)
        for value in (ENERGY, UTILISATION)
    ]
    return [
        question("architecture", "energy", "energy", "rq1_energy", cloud, asks[0]),
        question("architecture", "utilisation", busy, f"rq1_{test}", cloud, asks[1]),
        question("architecture", "correctness", correctness, "rq1_f1", cloud, of_correctness),
        question("environment", "energy", "energy", "rq2_energy", one, asks[2]),
        question("environment", "utilisation", busy, f"rq2_{test}", one, asks[3]),
    ]


def _of_runs(ask: Callable[[pd.DataFrame], Answer]) -> Ask:
    """Return a question that does not depend on correctness, as one of those that do."""
    return lambda terms, runs: ask(runs)


def _largest_saving() -> _Question:
    theirs, corrected = (printed("savings", "max", c) for c in ("published", "corrected"))
    return _Question(
        "largest_saving",
        f"Architecture and environment save up to {percent(theirs)}",
        f"{percent(theirs, 2)}; corrected: {percent(corrected, 2)}. MobileNetV2 against VGG16, "
        f"both in Local ML; {gflops_span(*GFLOPS_SPAN)}",
        partial(ask_largest_saving, theirs),
    )


def _correlation(key: str, claim: str, x: str, y: str) -> _Question:
    names = {column: name for name, column in CORRELATED.items()}
    original = _quote(partial(quote_correlation, names[y], names[x]), "Rank correlation: ")
    return _Question(key, claim, original, _of_runs(partial(ask_correlation, x, y)))


def _quote(quote: Callable[..., str], prefix: str) -> str:
    """Return the original's figures, and the corrected ones if they differ."""
    published, corrected = quote(), quote(column="corrected")
    text = prefix + published
    return text if published == corrected else f"{text}; corrected: {corrected}"
