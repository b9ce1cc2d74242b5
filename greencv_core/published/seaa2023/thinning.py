"""What the time between two samples alone changes: the published logs, thinned."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from greencv_core.analysis import NotEnoughDataError, Saving, Unavailable, attempt
from greencv_core.analysis import best_against_worst as largest_of
from greencv_core.published.claim_answers import CONDITIONS
from greencv_core.published.claim_matching import ask_matching
from greencv_core.published.seaa2023.logs import LogPair, log_pairs, map_pairs, trimmed
from greencv_core.published.seaa2023.nvidia_smi import read_log
from greencv_core.published.seaa2023.reanalysis import (
    CORRECTED,
    CORRECTNESS,
    RQ1_ENVIRONMENT,
    SMALLER_GPU,
    Reanalysis,
)
from greencv_core.utils.answers import remembered
from greencv_core.utils.intact import files_digest
from greencv_core.utils.text import listed, number, percent

EVERY_S = (1, 2, 5, 10)
"""Times between samples (s); the logs have the first."""


@dataclass(frozen=True)
class Thinning:
    """The headlines from logs with fewer samples."""

    table: pd.DataFrame
    """every_s, largest_change (of a run's energy, relative), saving, ci_low, ci_high,
    exponent_cloud and exponent_local_ml (of GFLOPs, over architectures), matching (verdict) and
    matching_exponent."""
    logs: int

    def sentence(self) -> str:
        """Say what fewer samples change."""
        table, last = self.table, self.table.iloc[-1]
        points = 100 * float((table["saving"] - table["saving"].iloc[0]).abs().max())
        width = 100 * float(table["ci_high"].iloc[0] - table["ci_low"].iloc[0])
        exponents = table[["exponent_cloud", "exponent_local_ml", "matching_exponent"]]
        moved = float((exponents - exponents.iloc[0]).abs().max().max())
        verdicts = list(dict.fromkeys(table["matching"]))
        same = (
            f"the verdict on matching hardware does not change ({verdicts[0]})"
            if len(verdicts) == 1
            else f"the verdict on matching hardware changes ({listed(verdicts)})"
        )
        return (
            f"With a sample every {last['every_s']} s instead of every second, the energy of a run "
            f"changes by at most {percent(last['largest_change'], 2)} ({self.logs} logs). The "
            f"largest saving changes by at most {number(points)} percentage points (its 95% "
            f"interval is {number(width)} wide), and exponents change by at most {number(moved)}; "
            f"{same}. {_conclusion(points, width, len(verdicts))}"
        )


def _conclusion(points: float, width: float, verdicts: int) -> str:
    if verdicts == 1 and points < width / 10:
        return (
            "For runs of these lengths, no headline depends on how often power was sampled. How "
            "accurate each sample is, thinning cannot show."
        )
    return "So the time between samples matters for these headlines."


def thinning(reanalysis: Reanalysis) -> Thinning:
    """Return the corrected headlines from the logs at each of :data:`EVERY_S`.

    The first sample in each span of so many seconds is kept, as if the others had not been taken.

    Raises
    ------
    NotEnoughDataError
        There is no log, or not both environments have logs.
    """
    known = set(reanalysis.raw.runs["run_id"])
    if not known:
        raise NotEnoughDataError("no raw log could be read")
    pairs = [pair for pair in log_pairs(reanalysis.files) if pair.run_id in known]
    logs = [pair.gpu for pair in pairs if pair.gpu is not None]
    energies = _energies_of(pairs, files_digest(logs))
    rows = [_headlines(reanalysis, energies, every_s) for every_s in EVERY_S]
    return Thinning(pd.DataFrame(rows), len(energies))


@remembered
def _energies_of(pairs: list[LogPair], content: str) -> pd.DataFrame:
    """Return the energy of each log, by run id; ``content`` is a digest of the logs."""
    return pd.DataFrame(map_pairs(pairs, _energies)).set_index("run_id")


def _energies(pair: LogPair) -> dict[str | int, str | float]:
    """Return a log's energy (J) at each of :data:`EVERY_S`."""
    assert pair.gpu is not None
    log = trimmed(read_log(pair.gpu))
    elapsed_s = log.time_s - log.time_s[0]
    row: dict[str | int, str | float] = {"run_id": pair.run_id}
    for every_s in EVERY_S:
        kept = np.arange(len(elapsed_s))
        if every_s > 1:
            _, kept = np.unique(np.floor(elapsed_s / every_s), return_index=True)
        row[every_s] = float(np.trapezoid(log.power_w[kept], elapsed_s[kept]))
    return row


def _headlines(reanalysis: Reanalysis, energies: pd.DataFrame, every_s: int) -> dict[str, object]:
    raw = reanalysis.raw.runs
    thinned_j = raw["run_id"].map(energies[every_s])
    # What cutting to whole watts loses stays as it is: runs without a log are corrected by it.
    lost_j = raw["energy_j"] - raw["energy_j_whole_watts"]
    thinned = replace(
        reanalysis,
        raw=replace(
            reanalysis.raw,
            runs=raw.assign(energy_j=thinned_j, energy_j_whole_watts=thinned_j - lost_j),
        ),
    )
    runs = thinned.runs(CORRECTED).dropna(subset=["energy_j_per_image"])
    largest = attempt(largest_of, runs, correctness=CORRECTNESS)
    if isinstance(largest, Unavailable):
        raise NotEnoughDataError(largest.reason)
    assert isinstance(largest, Saving)
    matching = ask_matching(runs)
    return {
        "every_s": every_s,
        "largest_change": float((energies[every_s] / energies[EVERY_S[0]] - 1).abs().max()),
        "saving": largest.saving,
        "ci_low": largest.ci_low,
        "ci_high": largest.ci_high,
        "exponent_cloud": _exponent(runs, RQ1_ENVIRONMENT),
        "exponent_local_ml": _exponent(runs, SMALLER_GPU),
        "matching": matching.standing,
        "matching_exponent": matching.figure,
    }


def _exponent(runs: pd.DataFrame, environment: str) -> float:
    """Return the exponent of GFLOPs in an environment, over architectures' medians."""
    columns = ["gflops_per_image", "energy_j_per_image"]
    medians = runs[runs["environment"] == environment].groupby(CONDITIONS)[columns].median()
    x, y = np.log10(medians.to_numpy(dtype=float)).T
    return float(np.polyfit(x, y, 1)[0])
