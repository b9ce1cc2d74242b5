"""The headline of the re-analysis with sessions as units, beside that by runs."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from greencv_core.analysis import Saving, Unavailable, attempt, best_against_worst, saving
from greencv_core.analysis.sessions import RULE, SessionSpread, session_spread
from greencv_core.published.seaa2023.reanalysis import CORRECTNESS
from greencv_core.utils.text import percent


@dataclass(frozen=True)
class SessionHeadline:
    """The largest corrected saving, by runs and by sessions."""

    by_runs: Saving
    """Without the runs removed by hand, as the original; runs as independent units."""
    by_sessions: Saving
    """Of all runs, with sessions as units."""
    without_removed: Saving | Unavailable
    """The same without the runs removed by hand, which are whole sessions."""
    spread: SessionSpread
    """Spread between and within sessions of all conditions with logs."""

    def sentence(self) -> str:
        """State the saving both ways, and why the intervals differ."""
        runs, sessions = self.by_runs, self.by_sessions
        text = (
            f"With runs as independent units, {runs.cheap} uses {percent(runs.saving)} less energy "
            f"per image than {runs.dear} (95% CI {percent(runs.ci_low)} to {percent(runs.ci_high)};"
            f" {runs.n_to} and {runs.n_from} runs). With sessions as units, all runs give "
            f"{_saving(sessions)}"
        )
        if isinstance(self.without_removed, Saving):
            text += f", and the runs that the original kept give {_saving(self.without_removed)}"
        return (
            f"{text}. Runs of one session resemble each other, so thirty runs of one session say "
            "little about another session. The intervals on this page therefore count sessions."
        )

    def rule(self) -> str:
        """State how sessions are found, and how much they differ."""
        return f"{RULE} {self.spread.sentence()}"


def _saving(result: Saving) -> str:
    return (
        f"{percent(result.saving)} ({percent(result.ci_low)} to {percent(result.ci_high)}; "
        f"{result.sessions_to} and {result.sessions_from} sessions)"
    )


def session_headline(every: pd.DataFrame) -> SessionHeadline:
    """Return the largest corrected saving by runs and by sessions.

    Parameters
    ----------
    every
        All runs with corrected energies, and ``removed_by_hand``.

    Raises
    ------
    NotEnoughDataError
        There is no such saving, or a condition's logs are missing.
    """
    kept = every[~every["removed_by_hand"]]
    unaware = kept.drop(columns=["session", "started_at"], errors="ignore")
    largest = best_against_worst(kept, correctness=CORRECTNESS)
    ends = (largest.from_condition, largest.to_condition)
    return SessionHeadline(
        by_runs=saving(unaware, *ends, correctness=CORRECTNESS),
        by_sessions=saving(every, *ends, correctness=CORRECTNESS),
        without_removed=attempt(saving, kept, *ends, correctness=CORRECTNESS),
        spread=session_spread(every),
    )
