"""A study's records from several machines: found, told apart, put in order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pydantic import ValidationError

from greencv_core import environment
from greencv_core.environment import product_name
from greencv_core.records import RunRecord, Store
from greencv_core.runs_cache import cached_runs_table
from greencv_core.study import EnvironmentSpec, PlannedRun, Study


def made_elsewhere(
    study: Study, store: Store, runs: Sequence[PlannedRun], architectures: Collection[str]
) -> list[RunRecord]:
    """Return the study's records in the store that another machine made, or another device.

    Parameters
    ----------
    runs
        Those planned on this machine.
    architectures
        Return those of these alone.
    """
    table, _ = cached_runs_table(store)
    likely = table[
        table["architecture"].isin(list(architectures))
        & (table["repetition"] < study.protocol.repetitions)
        & ~table["run_id"].isin([run.run_id for run in runs])
    ]
    return [
        record
        for record in store.load_all(sorted(likely["run_id"]))
        if isinstance(record, RunRecord) and _is_of(study, record)
    ]


def _is_of(study: Study, record: RunRecord) -> bool:
    """Return whether a record is of a run that the study plans, on whichever machine."""
    try:
        spec = EnvironmentSpec.model_validate(record.environment)
    except ValidationError:
        return False  # of a version that knew other environments
    if not environment.is_level(spec, study):
        return False
    batch_size = spec.batch_size or study.protocol.batch_size
    run = PlannedRun(
        study=study.name,
        dataset=study.dataset,
        architecture=record.architecture,
        environment=spec,
        protocol=study.protocol.model_copy(update={"batch_size": batch_size}),
        carbon=study.carbon,
        repetition=record.repetition,
        order=record.order,
        machine=str(record.machine.get("fingerprint")),
        accelerator=record.accelerator,
    )
    return run.run_id == record.run_id


def told_apart(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Name the device in an environment's name where several machines made its runs."""
    places: dict[str, dict[tuple[str, str], str]] = {}
    # A failed run does not tell its device.
    for record in sorted(records, key=lambda record: record.device_name == ""):
        name, place = record.environment["name"], _place(record)
        device = product_name(record.device_name) or f"machine {place[0]}"
        places.setdefault(name, {}).setdefault(place, device)
    named = []
    for record in records:
        name, here = record.environment["name"], places[record.environment["name"]]
        if len(here) > 1:
            device = here[_place(record)]
            if list(here.values()).count(device) > 1:
                device = f"{device}, machine {_place(record)[0]}"
            apart = {**record.environment, "name": f"{name} ({device})"}
            record = record.model_copy(update={"environment": apart})
        named.append(record)
    return named


def _place(record: RunRecord) -> tuple[str, str]:
    return str(record.machine.get("fingerprint")), record.accelerator


def in_the_studys_order(records: Sequence[RunRecord], study: Study) -> list[RunRecord]:
    """Sort by architecture, environment (as listed, then by name) and repetition."""
    if study.environments == "auto":
        listed = list(environment.AUTO_NAMES)
    else:
        listed = [spec.name for spec in study.environments]

    def place(record: RunRecord) -> tuple[int, int, str, int]:
        name = str(record.environment["name"])
        first = next((i for i, known in enumerate(listed) if _begins(name, known)), len(listed))
        return study.architectures.index(record.architecture), first, name, record.repetition

    return sorted(records, key=place)


def _begins(name: str, known: str) -> bool:
    return name == known or name.startswith(f"{known} (")
