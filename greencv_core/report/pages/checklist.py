"""Page: a reporting checklist that the program fills in from the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from greencv_core.analysis.describe import study_cost_sentence, uncertainty_sentence
from greencv_core.analysis.result import ALPHA, CONFIDENCE
from greencv_core.analysis.selection import CONDITION, Selection
from greencv_core.records.record import RunRecord
from greencv_core.report.exhibits.labels import lower_first
from greencv_core.report.export.datapackage import LICENCE, RESULTS, TABLE, TEXT_TABLE
from greencv_core.report.pages.provenance import (
    comparisons_table,
    idle_table,
    machines_table,
    meters_table,
    run_dates,
)
from greencv_core.study.schema import Study
from greencv_core.utils.text import count, listed, number, percent

SILENT = "Not recorded."
_SOFTWARE = ("greencv", "python", "torch", "codecarbon")


def answer(tables: Iterable[pd.DataFrame]) -> str:
    """Say how many items the records answer, and name the others."""
    items = pd.concat(list(tables))
    silent = items.loc[items["answer"] == SILENT, "item"]
    text = f"{len(items) - len(silent)} of {len(items)} items are answered from the records."
    named = listed([lower_first(item) for item in silent])
    return f"{text} Not recorded: {named}." if named else text


def people_and_machines(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Say who measured, when, on what, and where."""
    computers = {(r.host, str(r.machine.get("fingerprint"))) for r in records}
    sessions = {r.session for r in records if r.session}
    machines = [
        f"{row.cpu}, {row.cpus} CPUs, {row.memory_gib} GiB, accelerators: {row.accelerators} "
        f"({count(row.runs, 'run')})"
        for row in machines_table(records).itertuples()
    ]
    made = count(len(computers), "computer")
    return _answers(
        {
            "Who measured": f"No names are recorded; greencv made the runs on {made}.",
            "When": run_dates(records) or SILENT,
            "Sessions": count(len(sessions), "session") + "." if sessions else SILENT,
            "Hardware": f"{'; '.join(machines)}.",
            "Devices that trained": _each(records, lambda r: r.device_name),
            "Place": "Country of the electricity mix: "
            f"{_each(records, lambda r: r.carbon.get('country'))}",
        }
    )


def measurement(records: Sequence[RunRecord], runs: pd.DataFrame) -> pd.DataFrame:
    """Say by which meters energy is known, of what, how often they read, and how surely."""
    meters = [
        f"{row.component}: {row.meter} ({row.provenance})"
        for row in meters_table(records).itertuples()
    ]
    compared = [
        f"{row.component}: {row.second} over {row.first} is {number(row.second_to_first)} "
        f"(median of {count(row.n, 'run')})"
        for row in comparisons_table(records).itertuples()
    ]
    idle = [
        f"{row.component} in {row.environment}: {number(row.power_w)} W"
        for row in idle_table(records).itertuples()
    ]
    setup = [r.setup_s for r in records if r.setup_s is not None]
    return _answers(
        {
            "Meters": f"{'; '.join(meters)}." if meters else SILENT,
            "What the energy includes": f"{_each(records, _counted)} It excludes cooling, losses "
            "of the power supply and manufacturing.",
            "Refresh period of the meters": _refresh(records),
            "Metered window": "Training and validation of all epochs. Loading data and building "
            "the model come before it"
            + (f" ({number(float(np.median(setup)))} s, median)." if setup else "."),
            "Idle power": f"{'; '.join(idle)} (medians), measured before the first run for "
            f"{_seconds(records, 'idle_s')}"
            if idle
            else SILENT,
            "Warm-up before the first run": _seconds(records, "warmup_s"),
            "Pause before each run": _seconds(records, "cooldown_s"),
            "Second meters": f"{'; '.join(compared)}." if compared else "None.",
            "Uncertainty of a run's energy": uncertainty_sentence(runs),
        }
    )


def experiment(records: Sequence[RunRecord], study: Study) -> pd.DataFrame:
    """Say what was trained, on which data, how often and in which order."""
    made = pd.DataFrame([(r.architecture, r.environment.get("name")) for r in records])
    of_each = made.value_counts()
    fewest, most = int(of_each.min()), int(of_each.max())
    training, validation = (
        _each(records, partial(_of_dataset, name=name), end="")
        for name in ("train_images", "validation_images")
    )
    return _answers(
        {
            "Conditions": f"{count(made[0].nunique(), 'architecture')} and "
            f"{count(made[1].nunique(), 'environment')}: {count(len(of_each), 'condition')}.",
            "Runs per condition": f"{fewest}." if fewest == most else f"{fewest} to {most}.",
            "Order of the runs": "Each repetition holds every condition once, in random order."
            if study.protocol.order == "blocks"
            else "All repetitions of one condition, then those of the next.",
            "Seeds": _each(records, lambda r: r.seed),
            "Data set": _each(records, lambda r: r.dataset.get("name")),
            "Images": f"Training: {training}; validation: {validation}.",
            "Hash of the images": _each(records, lambda r: r.data_sha256[:12]),
            "Initial weights": _each(records, _weights),
            "Epochs": _each(records, lambda r: len(r.epochs) or None),
            "Correctness": "Macro F1 on the validation images, which also decide early stopping, "
            "if it is used; there is no separate test set.",
            "Margin (set in the study file)": f"{100 * study.analysis.correctness_margin:g} points "
            "of macro F1.",
            "Pilot runs": SILENT,
        }
    )


def exclusions_and_results(
    records: Sequence[RunRecord], runs: pd.DataFrame, selection: Selection, planned: int
) -> pd.DataFrame:
    """Say which runs count, why others do not, and what all of them took."""
    left_out = [
        f"{row.run_id[:8]} ({' @ '.join(str(getattr(row, c)) for c in CONDITION)}): {row.reason}"
        for row in selection.excluded.itertuples()
    ]
    return _answers(
        {
            "Runs that count": selection.sentence(planned),
            "Runs left out": f"{'; '.join(left_out)}." if left_out else "None.",
            "Outliers": "No run is left out because of its value; a check shows the effect.",
            "Intervals and tests": f"{percent(CONFIDENCE, 0)} intervals; tests at "
            f"{percent(ALPHA, 0)}; each result names its test.",
            "Energy, emissions, time": study_cost_sentence(runs),
            "Carbon intensity and its source": _each(records, _electricity),
        }
    )


def software_and_data(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Say which software made the runs, and where the data are."""
    versions = [
        f"{name} {_each(records, partial(_version, name=name), end='')}"
        for name in _SOFTWARE
        if any(name in r.versions for r in records)
    ]
    return _answers(
        {
            "Software": f"{'; '.join(versions)}." if versions else SILENT,
            "Commit that made the runs": _each(records, lambda r: r.git_commit[:12]),
            "Data": f"{listed([RESULTS, TEXT_TABLE, TABLE])}, next to these pages.",
            "Licence of the data": f"{LICENCE['title']} ({LICENCE['name']}).",
            "Preregistration": SILENT,
        }
    )


def _answers(answers: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame({"item": list(answers), "answer": list(answers.values())})


def _each(records: Sequence[RunRecord], get: Callable[[RunRecord], Any], end: str = ".") -> str:
    """Return the different values that records have, or that they have none."""
    values = sorted({value for r in records if (value := get(r)) not in (None, "")}, key=_order)
    if not values:
        return SILENT.removesuffix("." if not end else "")
    numbers = all(isinstance(value, int) for value in values)
    if numbers and len(values) > 2 and values[-1] - values[0] == len(values) - 1:
        return f"{values[0]} to {values[-1]}{end}"
    return listed([str(value) for value in values]) + end


def _order(value: Any) -> tuple[str, Any]:
    return type(value).__name__, value


def _seconds(records: Sequence[RunRecord], name: str) -> str:
    return _each(records, lambda r: _in_seconds(r.protocol.get(name)))


def _of_dataset(record: RunRecord, name: str) -> str | None:
    images = record.dataset.get(name)
    return f"{images:,}" if isinstance(images, int) else images


def _version(record: RunRecord, name: str) -> str | None:
    return record.versions.get(name)


def _in_seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:g} s"


def _counted(record: RunRecord) -> str | None:
    return " + ".join(name.upper() for name in record.total.components) if record.total else None


def _refresh(records: Sequence[RunRecord]) -> str:
    periods: dict[str, list[float]] = {}
    for record in records:
        for name, part in record.total.components.items() if record.total else ():
            if part.resolution_s is not None:
                periods.setdefault(name.upper(), []).append(part.resolution_s)
    medians = [f"{name}: {number(float(np.median(all_s)))} s" for name, all_s in periods.items()]
    return f"{'; '.join(medians)} (medians)." if medians else SILENT


def _weights(record: RunRecord) -> str | None:
    weights = record.protocol.get("weights")
    return "random" if weights == "none" else weights


def _electricity(record: RunRecord) -> str | None:
    intensity = record.carbon_intensity_gco2e_per_kwh
    if intensity is None:
        return None
    country, stated = (record.carbon.get(n) for n in ("country", "intensity_gco2e_per_kwh"))
    source = (
        "stated in the study file"
        if stated is not None
        else f"CodeCarbon's data, {country}"
        if country
        else "source not in the records"
    )
    return f"{number(intensity)} gCO2e/kWh ({source})"
