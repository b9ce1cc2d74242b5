"""Estimate a training's energy, time and emissions on this machine before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from greencv_core.estimation.base import Estimate
from greencv_core.estimation.run_cost import ProbeResult
from greencv_core.estimation.run_forecast import RunHistory, Size
from greencv_core.machine.environment import gpu_uuids, power_limit_w, resolve
from greencv_core.machine.hardware import Machine
from greencv_core.machine.load import describe_others
from greencv_core.metering import carbon_intensity_gco2e_per_kwh, provenance_by_component
from greencv_core.records.source import load_study
from greencv_core.records.store import Store
from greencv_core.run.calibration import run_probe
from greencv_core.run.collect import check
from greencv_core.run.planning import plan_here
from greencv_core.run.subprocesses import call_in_fresh_process
from greencv_core.study.loading import validate_study
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import Dataset, Study
from greencv_core.utils.energy import Provenance, emissions_gco2e, weakest
from greencv_core.utils.errors import BadInputError, GreencvError
from greencv_core.utils.paths import default_store
from greencv_core.utils.text import count

PROBE_S = 5.0
"""Least duration of a probe in seconds: the speed of a machine varies from second to second."""
WHERE = "greencv estimate"  # start of error messages


@dataclass(frozen=True)
class TrainingEstimate:
    """Estimate of one training in one environment."""

    run: PlannedRun
    whole: Estimate
    """Energy and duration of the metered window, with 95% intervals."""
    provenance: Provenance
    """Provenance that the energy would have when metered: measured, sampled or estimated."""
    batches: int
    """Number of batches timed for it."""
    disturbed: str
    """What disturbed these batches: ``other processes used 50% of the CPUs``; else empty."""
    intensity_gco2e_per_kwh: float

    def emissions_gco2e(self) -> tuple[float, float, float]:
        """Return the emissions, and the ends of their 95% interval."""
        joules = (self.whole.energy_j, self.whole.low_j, self.whole.high_j)
        middle, low, high = (emissions_gco2e(j, self.intensity_gco2e_per_kwh) for j in joules)
        return middle, low, high


@dataclass(frozen=True)
class EstimateReport:
    """Estimates of one training by environment, and the data behind them."""

    estimates: tuple[TrainingEstimate, ...]
    untried: Mapping[str, str]
    """Environments whose probe failed, each with the reason."""
    runs: int
    """Number of finished runs that were learnt from."""
    architectures: int

    @property
    def rests_on(self) -> str:
        """The data behind it: ``12 finished runs of 5 architectures, 8 batches tried``."""
        runs, kinds = count(self.runs, "finished run"), count(self.architectures, "architecture")
        parts = [f"{runs} of {kinds}"] if self.runs else []
        batches = sum(one.batches for one in self.estimates)
        if batches:
            parts.append(f"{count(batches, 'batch', 'batches')} tried")
        return ", ".join(parts)


def estimate_training(
    architecture: str,
    study: str | Path | Study = "quick",
    *,
    environment: str | None = None,
    dataset: str | None = None,
    epochs: int | None = None,
    probe: bool = False,
    store: str | Path | Store | None = None,
) -> EstimateReport:
    """Estimate the energy, time and emissions of one training here, as ``greencv plan`` does.

    Parameters
    ----------
    architecture
        Any name that a study can use.
    study
        The study whose protocol is used: a file, a name in ``studies/``, or the study itself.
    environment
        One of the study's environments; all of this machine when omitted.
    dataset
        All images of this data set instead, with the study's image size and validation share.
    epochs
        This many epochs instead of the study's number.
    probe
        Time and meter a few batches in each environment; this takes seconds.
    store
        Finished runs to learn from; the default store when omitted.

    Raises
    ------
    BadInputError
        A name is unknown, or this machine does not have the environment.
    GreencvError
        There is neither a finished run nor a probe to estimate from.
    """
    opened = study if isinstance(study, Study) else load_study(study)
    wanted = one_training(opened, architecture, dataset=dataset, epochs=epochs)
    check(wanted, download=False)
    runs, machine = _plan(wanted, environment)
    store = store if isinstance(store, Store) else Store(store or default_store())
    history = RunHistory.from_records(store.records())
    if not history.runs and not probe:
        raise GreencvError(
            f"{store.where}: no finished runs to estimate from: try a few batches with --probe, "
            "or train some with greencv run"
        )
    probes, untried = _run_probes(runs, machine) if probe else ({}, {})
    carbon = wanted.carbon
    intensity = carbon_intensity_gco2e_per_kwh(carbon.country, carbon.intensity_gco2e_per_kwh)
    estimates = tuple(
        _estimate(run, probes.get(run.environment.name), history, machine, intensity)
        for run in runs
        if run.environment.name not in untried
    )
    return EstimateReport(estimates, untried, history.runs, history.architectures)


def one_training(
    study: Study, architecture: str, *, dataset: str | None = None, epochs: int | None = None
) -> Study:
    """Return a study of one training by another study's protocol; see :func:`estimate_training`."""
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
        validation = round(images * study.dataset.validation_images / known)
        numbers = {"train_images": images - validation, "validation_images": validation}
        content["dataset"] |= numbers
    one = validate_study(content, WHERE)
    if dataset is None:  # its relative path is not lost
        one = one.model_copy(update={"dataset": study.dataset})
    return one


def _plan(study: Study, environment: str | None) -> tuple[list[PlannedRun], Machine]:
    runs, machine = plan_here(study)
    by_name = {run.environment.name: run for run in runs}
    names = [spec.name for spec in resolve(study, machine)]
    if environment is not None and environment not in names:
        raise BadInputError(
            f"--environment {environment}: not available on this machine; "
            f"available: {', '.join(names)}"
        )
    return [by_name[name] for name in ([environment] if environment else names)], machine


def _run_probes(
    runs: list[PlannedRun], machine: Machine
) -> tuple[dict[str, ProbeResult], dict[str, str]]:
    results = {run.environment.name: run_probe(run, machine, PROBE_S) for run in runs}
    failed = {name: reason for name, reason in results.items() if isinstance(reason, str)}
    if len(failed) == len(runs):
        problems = (f"{WHERE}: environment {name}: {reason}" for name, reason in failed.items())
        raise GreencvError("\n".join(problems))
    return {name: r for name, r in results.items() if not isinstance(r, str)}, failed


def _estimate(
    run: PlannedRun,
    probe: ProbeResult | None,
    history: RunHistory,
    machine: Machine,
    intensity: float,
) -> TrainingEstimate:
    size = history.size(run, probe) or call_in_fresh_process(_size, run)
    limit_w = power_limit_w(run.environment, machine)
    metered = None if probe is None else probe.provenance
    gpus = gpu_uuids(run.environment, machine)
    return TrainingEstimate(
        run=run,
        whole=history.forecaster(run, size, power_limit_w=limit_w, probe=probe).predict_before(),
        provenance=metered or weakest(provenance_by_component(gpus).values()),
        batches=0 if probe is None else probe.batches,
        disturbed="" if probe is None else describe_others(probe.others_share),
        intensity_gco2e_per_kwh=intensity,
    )


def _image_count(spec: Dataset) -> int:
    from greencv_core.datasets import count_images

    return count_images(spec)


def _size(run: PlannedRun) -> Size:
    from greencv_core.architectures.build import build, gflops_per_image, parameter_count
    from greencv_core.datasets import count_classes

    image_size = run.dataset.image_size
    module = build(run.architecture, count_classes(run.dataset), image_size).module
    return Size(gflops_per_image(module, image_size), parameter_count(module))
