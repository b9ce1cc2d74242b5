"""``greencv plan`` and ``greencv estimate``: time and energy before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.markup import escape

from greencv_core.cli import console
from greencv_core.utils.text import clock, count, joules, joules_between

if TYPE_CHECKING:
    from greencv_core.estimation.run_cost import RunCost
    from greencv_core.machine.hardware import Machine
    from greencv_core.records.store import Store
    from greencv_core.run.estimate import EstimateReport, TrainingEstimate
    from greencv_core.study.plan import PlannedRun
    from greencv_core.study.schema import Study


def plan(
    study: console.StudyArgument = "quick",
    store: console.StoreOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Print the runs in order with their expected time and energy; train nothing.

    Both are predicted from the finished runs of the store. For conditions without finished runs, a
    few batches are timed and metered.
    """
    from greencv_core.estimation.run_cost import total_cost
    from greencv_core.machine.environment import missing_environments
    from greencv_core.records.source import load_study
    from greencv_core.run.planning import plan_here, select_unfinished
    from greencv_core.run.progress import describe_cost
    from greencv_core.run.worker import describe_worker

    loaded = load_study(study)
    runs, machine = plan_here(loaded)
    records = console.open_store(store)
    left = select_unfinished(runs, describe_worker(), records)
    predicted = _Predicted({}, {}, 0.0, "")
    if left or not runs or as_json:  # a table of finished runs needs none of the slow imports
        predicted = _predict(loaded, runs, left, machine, records)
    costs, untimed, startup_s, note = predicted
    rest = total_cost(left, costs, startup_s)
    left_ids = {run.run_id for run in left}
    rows = [_plan_row(run, costs.get(run.condition), left_ids) for run in runs]
    skipped = missing_environments(loaded, machine)
    disturbed = _disturbed(costs.values())
    if as_json:
        content = {
            "study": loaded.name,
            "expected_s": round(rest.duration_s, 1),
            "before_the_first_run_s": round(startup_s, 1),
            "setup_s": round(rest.setup_s, 1),
            "expected_energy_j": rest.energy_j,
            "expected_energy_provenance": rest.provenance,
            "at_most": rest.at_most,
            "left_out": skipped,
            "not_timed": untimed,
            "disturbed": disturbed,
            "runs": rows,
        }
        console.print_json(content)
        return
    _print_plan(f"Study {loaded.name}: {count(len(runs), 'run')}", rows)
    subject = f"The {count(len(runs), 'run')}"
    if done := len(runs) - len(left):
        subject = f"{done} of {len(runs)} finished; the rest"
        subject += ", as far as it could be timed," if untimed else ""
    console.out.print(f"{subject} will take {describe_cost(rest)}.", soft_wrap=True)
    if note:
        console.print_note(note)
    _warn_of_plan(skipped, untimed, disturbed)


class _Predicted(NamedTuple):
    costs: dict[str, RunCost]
    """Cost of a run by condition."""
    untimed: dict[str, str]
    """Why a condition could not be timed."""
    startup_s: float
    """Seconds before the first run."""
    note: str
    """On images that are not used; empty if there are none."""


def _predict(
    study: Study,
    runs: Sequence[PlannedRun],
    left: Sequence[PlannedRun],
    machine: Machine,
    records: Store,
) -> _Predicted:
    """Check the study if runs are left, and predict all; time batches where no run is finished."""
    from greencv_core.run.collect import check, estimate_run_costs, estimate_startup_s

    note = check(study, download=False) if left or not runs else ""
    start_s = time.monotonic()
    with console.err.status("timing a few batches of each condition"):
        costs, untimed = estimate_run_costs(runs, machine, records)
    startup_s = estimate_startup_s(left, machine, time.monotonic() - start_s)
    return _Predicted(costs, untimed, startup_s, note)


def _warn_of_plan(skipped: Iterable[str], untimed: Mapping[str, str], disturbed: str) -> None:
    for line in skipped:
        console.warn("not on this machine", line)
    for condition, reason in untimed.items():
        console.warn("could not be timed", f"{condition}: {reason}")
    if disturbed:
        console.warn("disturbed", f"timing of batches: {disturbed}; repeat on a quiet machine")


def _disturbed(costs: Iterable[RunCost]) -> str:
    """Return what disturbed the timing of batches; empty if nothing did."""
    from greencv_core.machine.load import describe_others

    shares = [cost.probe.others_share for cost in costs if cost.probe is not None]
    return describe_others(max(shares, default=0.0))


def _plan_row(run: PlannedRun, cost: RunCost | None, left: Set[str]) -> dict[str, Any]:
    return {
        "order": run.order + 1,
        "run_id": run.run_id,
        "architecture": run.architecture,
        "environment": run.environment.name,
        "repetition": run.repetition + 1,
        "seed": run.seed,
        "finished": run.run_id not in left,
        "expected_s": None if cost is None else round(cost.duration_s, 1),
        "expected_energy_j": None if cost is None else cost.energy_j,
    }


def _print_plan(title: str, rows: list[dict[str, Any]]) -> None:
    table = console.borderless_table(title)
    for heading in ("#", "Architecture", "Environment", "Rep.", "Seed", "Time", "Energy"):
        words = heading in ("Architecture", "Environment")
        table.add_column(heading, justify="left" if words else "right", overflow="fold")
    for row in rows:
        time_s, energy_j = row["expected_s"], row["expected_energy_j"]
        table.add_row(
            *(str(row[k]) for k in ("order", "architecture", "environment", "repetition", "seed")),
            "finished" if row["finished"] else "unknown" if time_s is None else clock(time_s),
            "" if row["finished"] or energy_j is None else joules(energy_j),
        )
    console.out.print(table)


def estimate(
    architecture: Annotated[
        str, typer.Argument(help="An architecture, as in a study file.", metavar="ARCHITECTURE")
    ],
    study: Annotated[str, typer.Option(help="The study whose protocol is used.")] = "quick",
    environment: Annotated[
        str | None,
        typer.Option(help="One of the study's environments. Default: all that this machine has."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="All images of this data set instead of the study's.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Number of epochs instead of the study's.", min=1, max=10_000),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Time and meter a few batches on this machine.")
    ] = False,
    store: console.StoreOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Estimate the energy, time and emissions of one training before it starts.

    Each estimate has a 95% interval. It uses the finished runs of the store. With --probe, it also
    times and meters a few batches now, which takes seconds.
    """
    from greencv_core.run.estimate import estimate_training

    with console.err.status("timing a few batches" if probe else "reading the run records"):
        report = estimate_training(
            architecture,
            study,
            environment=environment,
            dataset=dataset,
            epochs=epochs,
            probe=probe,
            store=console.open_store(store),
        )
    if as_json:
        console.print_json(_estimate_json(report))
    else:
        _print_estimate(report)
    for name, reason in report.untried.items():
        console.warn("could not be timed", f"environment {name}: {reason}")
    for one in report.estimates:
        if one.disturbed:
            where = f"environment {one.run.environment.name}"
            console.warn("disturbed", f"{where}: {one.disturbed}; repeat on a quiet machine")


def _estimate_json(report: EstimateReport) -> dict[str, Any]:
    run = report.estimates[0].run
    return {
        "architecture": run.architecture,
        "study": run.study,
        "dataset": run.dataset.model_dump(mode="json"),
        "epochs": run.protocol.most_epochs,
        "may_stop_early": run.protocol.may_stop_early,
        "finished_runs": report.runs,
        "architectures": report.architectures,
        "rests_on": report.rests_on,
        "not_tried": dict(report.untried),
        "estimates": [_environment_json(one) for one in report.estimates],
    }


def _environment_json(one: TrainingEstimate) -> dict[str, Any]:
    emissions, emissions_low, emissions_high = one.emissions_gco2e()
    return {
        "environment": one.run.environment.name,
        "energy_j": one.whole.energy_j,
        "energy_low_j": one.whole.low_j,
        "energy_high_j": one.whole.high_j,
        "provenance": one.provenance,
        "duration_s": one.whole.duration_s,
        "duration_low_s": one.whole.low_s,
        "duration_high_s": one.whole.high_s,
        "emissions_gco2e": emissions,
        "emissions_low_gco2e": emissions_low,
        "emissions_high_gco2e": emissions_high,
        "carbon_intensity_gco2e_per_kwh": one.intensity_gco2e_per_kwh,
        "batches_tried": one.batches,
        "disturbed": one.disturbed,
    }


def _print_estimate(report: EstimateReport) -> None:
    run = report.estimates[0].run
    epochs = count(run.protocol.most_epochs, "epoch")
    images = f"{run.dataset.train_images} images of {run.dataset.name}"
    table = console.borderless_table(f"{run.architecture}: {epochs} of {images}")
    table.add_column("Environment", no_wrap=True)
    for heading in ("Energy", "Time", "gCO2e"):
        table.add_column(heading, justify="right")
    table.add_column("Energy is", no_wrap=True)
    for one in report.estimates:
        whole = one.whole
        emissions, *ends = one.emissions_gco2e()
        interval = joules_between(whole.low_j, whole.high_j, like_j=whole.energy_j)
        table.add_row(
            escape(one.run.environment.name),
            f"{joules(whole.energy_j)}\n({interval})",
            f"{_seconds(whole.duration_s)}\n({_seconds(whole.low_s)} to {_seconds(whole.high_s)})",
            f"{emissions:.2g}\n({ends[0]:.2g} to {ends[1]:.2g})",
            one.provenance,
        )
    console.out.print(table)
    console.out.print(
        f"In brackets: 95% intervals. From {report.rests_on}.", soft_wrap=True, highlight=False
    )


def _seconds(seconds: float) -> str:
    return clock(seconds) if seconds >= 60 else f"{seconds:.2g} s"
