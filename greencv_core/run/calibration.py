"""Time a few batches of each condition before the first run."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greencv_core.estimation.run_cost import PROBE_S, ProbeResult, RunCost, extrapolate, from_probe
from greencv_core.machine import environment
from greencv_core.machine.hardware import Machine
from greencv_core.run.subprocesses import Check, ProcessLostError, call_in_fresh_process
from greencv_core.run.unfinished import describe_error
from greencv_core.study.plan import PlannedRun
from greencv_core.utils.energy import Component

PROBING_S = 30.0
PROBING_SHARE = 0.05
"""See :func:`estimate_costs`."""


@dataclass(frozen=True)
class Calibration:
    """What a worker measured before the first run."""

    idle_power_w: Mapping[str, Mapping[Component, float]]
    """By environment and component."""
    power_limit_w: Mapping[str, float]
    """Power limit of the GPU by environment; NaN if unknown."""
    costs: Mapping[str, RunCost]
    """Cost of one run by condition, timed or extrapolated; a condition may be missing."""


def estimate_costs(
    runs: Sequence[PlannedRun],
    machine: Machine,
    known: Mapping[str, RunCost],
    watch: Check | None = None,
    *,
    probe_all: bool = True,
) -> tuple[dict[str, RunCost], dict[str, str]]:
    """Return the cost of one run by condition, and why other conditions cannot be trained.

    ``known`` are costs from records, by condition; the other conditions are timed. Without
    ``probe_all``, stop timing after :data:`PROBING_S`, or after :data:`PROBING_SHARE` of the
    expected time of all runs if that is longer, and extrapolate the remaining costs.
    """
    costs: dict[str, RunCost] = {}
    problems: dict[str, str] = {}
    remaining: list[PlannedRun] = []
    start_s = time.monotonic()
    for condition, run in _interleave_architectures(runs):
        if condition in known:
            costs[condition] = known[condition]
            continue
        if costs and not probe_all:
            mean_s = statistics.fmean(cost.total_s for cost in costs.values())
            if time.monotonic() - start_s > max(PROBING_S, PROBING_SHARE * mean_s * len(runs)):
                remaining.append(run)
                continue
        probe = run_probe(run, machine, watch=watch)
        if isinstance(probe, str):
            problems[condition] = probe
        else:
            costs[condition] = from_probe(run, probe)
    extrapolated = {run.condition: extrapolate(run, runs, costs) for run in remaining}
    return costs | {c: cost for c, cost in extrapolated.items() if cost is not None}, problems


def _interleave_architectures(runs: Sequence[PlannedRun]) -> list[tuple[str, PlannedRun]]:
    """Return one run of each condition: first one of each architecture, then their second ones."""
    conditions = {run.condition: run for run in runs}
    seen: Counter[str] = Counter()
    rank = {}
    for condition, run in conditions.items():
        rank[condition] = seen[run.architecture]
        seen[run.architecture] += 1
    return sorted(conditions.items(), key=lambda entry: rank[entry[0]])


def run_probe(
    run: PlannedRun, machine: Machine, for_s: float = PROBE_S, watch: Check | None = None
) -> ProbeResult | str:
    """Train a few batches of a condition; return their cost, or why it cannot be trained."""
    try:
        return call_in_fresh_process(_probe, run, machine, for_s, watch=watch)
    except ProcessLostError as error:
        return str(error)


def _probe(run: PlannedRun, machine: Machine, for_s: float) -> ProbeResult | str:
    from greencv_core.run.probe import probe

    try:
        return probe(run, machine, for_s)
    except Exception as error:  # an architecture may raise any exception
        return describe_error(error)


def power_limits_w(runs: Sequence[PlannedRun], machine: Machine) -> dict[str, float]:
    """Return the power limit of the GPU by environment; NaN if unknown."""
    specs = {run.environment.name: run.environment for run in runs}
    return {name: environment.power_limit_w(spec, machine) for name, spec in specs.items()}


def warm_up_device(run: PlannedRun, duration_s: float, watch: Check | None = None) -> None:
    """Train a condition for some time, unmetered."""
    with contextlib.suppress(ProcessLostError):
        call_in_fresh_process(_keep_busy, run, duration_s, watch=watch)


def _keep_busy(run: PlannedRun, duration_s: float) -> None:
    from greencv_core.run.probe import keep_busy

    # The run itself will fail for the same reason, and its record state it.
    with contextlib.suppress(Exception):
        keep_busy(run, duration_s)
