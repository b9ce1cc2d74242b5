"""``greencv run``: train the unfinished runs of a study."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from greencv_core.cli.console import StoreOption, StudyArgument, err, open_store
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.text import count, joules

if TYPE_CHECKING:
    from greencv_core.run.collect import Outcome


class Again(StrEnum):
    """Finished runs that can be repeated."""

    disturbed = "disturbed"


def run(
    study: StudyArgument = "quick",
    store: StoreOption = None,
    stop_above: Annotated[
        float | None,
        typer.Option(
            help="Stop each training whose forecast is above this even at the lower end of the 95% "
            "interval.",
            metavar="JOULES",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="A Dask scheduler, whose workers train instead of this computer.",
            metavar="tcp://HOST:PORT",
        ),
    ] = None,
    again: Annotated[
        Again | None,
        typer.Option(help="Also repeat finished runs that were disturbed."),
    ] = None,
) -> None:
    """Train the runs of a study that are not finished yet.

    Interrupt it at any time: finished runs are kept, and the same command continues.
    """
    if stop_above is not None and not 0 < stop_above < math.inf:
        raise BadInputError(
            f"--stop-above {stop_above:g}: must be a number of joules greater than 0"
        )
    outcome = train_study(study, store, stop_above_j=stop_above, scheduler=scheduler, again=again)
    raise typer.Exit(exit_code(outcome))


def exit_code(outcome: Outcome) -> int:
    """Return 3 where runs failed or were stopped, else 0."""
    return 3 if outcome.failed or outcome.stopped else 0


def train_study(
    study: str,
    store: str | None,
    *,
    train: bool = True,
    stop_above_j: float | None = None,
    scheduler: str | None = None,
    again: Again | None = None,
) -> Outcome:
    """Train the missing runs of a study with a progress bar, and print how it ended."""
    from greencv_core.records.source import load_study
    from greencv_core.run.collect import run_study
    from greencv_core.run.progress import ProgressBar

    loaded, opened = load_study(study), open_store(store)
    with ProgressBar(err) as progress:
        outcome = run_study(
            loaded, store=opened, progress=progress, train=train, stop_above_j=stop_above_j,
            scheduler=scheduler, again_disturbed=again is Again.disturbed,
        )  # fmt: skip
    if outcome.failed:
        command = "the same command" if train else "greencv run"
        advice = "" if opened.is_bundle else f"; {command} tries again"
        err.print(f"[red]{count(outcome.failed, 'run')} failed[/]{advice}.")
    if outcome.stopped:
        limits_j = [r.forecast.limit_j for r in outcome.records if r.forecast is not None]
        # A run that exceeds its own limit exceeds the lowest limit, too.
        limit = f": forecast to exceed {joules(min(limits_j))}" if limits_j else ""
        advice = "" if opened.is_bundle else "; greencv run without --stop-above trains them"
        stopped = f"[yellow]{count(outcome.stopped, 'run')} stopped[/]"
        err.print(f"{stopped}{limit}{advice}.", soft_wrap=True)
    if outcome.disturbed:
        advice = "" if opened.is_bundle else "; greencv run --again disturbed repeats them"
        disturbed = f"[yellow]{count(outcome.disturbed, 'run')} disturbed[/]"
        err.print(f"{disturbed} by other programs, or by slowed clocks{advice}.", soft_wrap=True)
    if outcome.missing:
        missing = count(outcome.missing, "run")
        err.print(f"{missing} of study {loaded.name} not trained on this machine yet.")
    elif outcome.trained and not outcome.failed and not outcome.stopped:
        one = outcome.planned == 1
        subject = "The only run" if one else f"All {outcome.planned} runs"
        err.print(f"{subject} of study {loaded.name} {'is' if one else 'are'} finished.")
    return outcome
