"""What one training will take on this machine, before it starts: ``greencv estimate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greencv_core.estimation.run_cost import ProbeResult
from greencv_core.estimation.run_forecast import RunForecaster, RunHistory, Size
from greencv_core.machine import environment
from greencv_core.machine.hardware import Machine
from greencv_core.metering import intensity_gco2e_per_kwh, provenance_by_component
from greencv_core.records.store import Store
from greencv_core.run.collect import check
from greencv_core.run.planning import plan_here
from greencv_core.run.subprocesses import call_in_fresh_process
from greencv_core.run.worker import measure_idle_powers, run_probe
from greencv_core.study.loading import validate_study
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Dataset, Study
from greencv_core.utils.energy import Provenance, emissions_gco2e, weakest
from greencv_core.utils.errors import BadInputError, GreencvError
from greencv_core.utils.text import count

if TYPE_CHECKING:
    from greencv_core.estimation.base import Estimate

PROBE_S = 5.0
"""How long batches are timed, at least: a machine is faster in one second than in the next."""
WHERE = "greencv estimate"
"""What messages about the wrong names begin with."""


@dataclass(frozen=True)
class TrainingEstimate:
    """What a training in one environment will take."""

    run: PlannedRun
    whole: Estimate
    """Of the metered window: energy and time, with 95 % intervals."""
    provenance: Provenance
    """What the energy would be, and so is forecast to be: measured, sampled or estimated."""
    batches: int
    """How many were tried."""
    intensity_gco2e_per_kwh: float

    def emissions_gco2e(self) -> tuple[float, float, float]:
        """Return what the energy emits, and the interval's ends."""
        joules = (self.whole.energy_j, self.whole.low_j, self.whole.high_j)
        middle, low, high = (emissions_gco2e(j, self.intensity_gco2e_per_kwh) for j in joules)
        return middle, low, high


@dataclass(frozen=True)
class EstimateReport:
    """What a training will take, by environment, and what that rests on."""

    promises: tuple[TrainingEstimate, ...]
    untried: Mapping[str, str]
    """Environments that batches were to be tried in and could not, and why."""
    runs: int
    """Finished runs that taught it."""
    architectures: int
    """How many those are of."""

    @property
    def rests_on(self) -> str:
        """Say what it rests on: ``12 finished runs of 5 architectures, 8 batches tried``."""
        runs, kinds = count(self.runs, "finished run"), count(self.architectures, "architecture")
        parts = [f"{runs} of {kinds}"] if self.runs else []
        batches = sum(promise.batches for promise in self.promises)
        return ", ".join(
            [*parts, f"{count(batches, 'batch', 'batches')} tried"] if batches else parts
        )


def one_training(
    study: Study, architecture: str, *, dataset: str | None = None, epochs: int | None = None
) -> Study:
    """Return a study of one training of an architecture, by another study's protocol.

    Parameters
    ----------
    dataset
        Another data set, all of whose images are used, at the study's size and in the proportion of
        its validation images.
    epochs
        Another number of them.

    Raises
    ------
    BadInputError
        A name is unknown, or nothing can be trained so.
    """
    content = study.model_dump()
    content["architectures"] = [architecture]
    content["protocol"]["repetitions"] = 1
    if epochs is not None:
        content["protocol"]["epochs"] = epochs
    if dataset is not None:
        content["dataset"] |= {"name": dataset, "classes": None}
        named = validate_study(content, WHERE).dataset
        images = call_in_fresh_process(_image_count, named)
        known = study.dataset.train_images + study.dataset.validation_images
        validated = round(images * study.dataset.validation_images / known)
        numbers = {"train_images": images - validated, "validation_images": validated}
        content["dataset"] |= numbers
    return validate_study(content, WHERE)


def preview(study: Study, store: Store, *, level: str | None = None, probe: bool) -> EstimateReport:
    """Return what the one training of a study will take in the environments of this machine.

    Parameters
    ----------
    study
        See :func:`one_training`.
    store
        Where the finished runs are that teach it.
    level
        The name of one environment; all when omitted.
    probe
        Try a few batches in each.

    Raises
    ------
    BadInputError
        A name is unknown, or the machine lacks the environment.
    GreencvError
        Nothing tells what the training will take.
    """
    check(study, download=False)
    runs, machine = plan_here(study)
    runs = _chosen(runs, level, study, machine)
    history = RunHistory.from_records(store.records())
    if not history.runs and not probe:
        raise GreencvError(
            f"{store.where}: no finished run tells what it takes: try a few batches with --probe, "
            "or make runs with greencv run"
        )
    tried = {
        run.environment.name: run_probe(run, machine, PROBE_S) if probe else None for run in runs
    }
    untried = {name: one for name, one in tried.items() if isinstance(one, str)}
    if len(untried) == len(runs):
        problems = (f"environment {name}: {reason}" for name, reason in untried.items())
        raise GreencvError("\n".join(f"{WHERE}: {problem}" for problem in problems))
    intensity = intensity_gco2e_per_kwh(study.carbon.country, study.carbon.intensity_gco2e_per_kwh)
    return EstimateReport(
        promises=tuple(
            _promise(run, one, history, machine, intensity)
            for run in runs
            if not isinstance(one := tried[run.environment.name], str)
        ),
        untried=untried,
        runs=history.runs,
        architectures=history.architectures,
    )


def _chosen(
    runs: Sequence[PlannedRun], level: str | None, study: Study, machine: Machine
) -> list[PlannedRun]:
    """Return the runs, in the order of the environments, or that of one environment."""
    by_name = {run.environment.name: run for run in runs}
    here = [spec.name for spec in environment.resolve(study, machine)]
    if level is None:
        return [by_name[name] for name in here]
    if level not in by_name:
        raise BadInputError(
            f"--environment {level}: study {study.name} has none such on this machine; "
            f"here: {', '.join(here)}"
        )
    return [by_name[level]]


def _promise(
    run: PlannedRun,
    probe: ProbeResult | None,
    history: RunHistory,
    machine: Machine,
    intensity: float,
) -> TrainingEstimate:
    gpus = environment.gpu_uuids(run.environment, machine)
    told = None if probe is None else probe.provenance
    return TrainingEstimate(
        run=run,
        whole=_forecaster(run, probe, history, machine).predict_before(),
        provenance=told or weakest(provenance_by_component(gpus).values()),
        batches=0 if probe is None else probe.batches,
        intensity_gco2e_per_kwh=intensity,
    )


def _forecaster(
    run: PlannedRun, probe: ProbeResult | None, history: RunHistory, machine: Machine
) -> RunForecaster:
    size = history.size(run, probe) or call_in_fresh_process(_size, run)
    limit_w = environment.power_limit_w(run.environment, machine)
    forecaster = history.forecaster(run, size, power_limit_w=limit_w, probe=probe)
    if probe is None or forecaster.task.environment in history.idle_power_w:
        return forecaster
    idle_w = sum(measure_idle_powers([run], machine, lambda _: None)[run.environment.name].values())
    return history.forecaster(run, size, idle_power_w=idle_w, power_limit_w=limit_w, probe=probe)


def _image_count(spec: Dataset) -> int:
    from greencv_core.datasets import count_images

    return count_images(spec)


def _size(run: PlannedRun) -> Size:
    from greencv_core.architectures.build import build, gflops_per_image, parameter_count
    from greencv_core.datasets import count_classes

    image_size = run.dataset.image_size
    module = build(run.architecture, count_classes(run.dataset), image_size).module
    return Size(gflops_per_image(module, image_size), parameter_count(module))
