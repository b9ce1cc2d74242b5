"""A study's records from several machines or a bundle: found, told apart, put in order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from pydantic import ValidationError

from greencv_core.machine import environment
from greencv_core.machine.hardware import product_name
from greencv_core.records.backends.base import name_in
from greencv_core.records.record import RunRecord
from greencv_core.records.source import load_study
from greencv_core.records.store import Damaged, Store
from greencv_core.records.table_cache import cached_runs_table
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import EnvironmentSpec, Study
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import safe_line


def records_from_other_machines(
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


def records_from_bundle(
    study: Study, store: Store, architectures: Collection[str]
) -> list[RunRecord]:
    """Return the study's records in a bundle, by run id: the same on whichever machine.

    Those of the study that was packed are all of them, also where runs of it would have other ids
    by now: what belonged together was decided when it was packed.

    Raises
    ------
    BadInputError
        It holds none of the study, or is at odds with its own study.
    """
    own = load_study(store.location)
    packed = own.model_dump() == study.model_dump()
    records, damaged = [], []
    for loaded in store.records():
        if isinstance(loaded, Damaged):
            damaged.append(loaded)
        elif packed:
            _check_packed(loaded, study, store.where)
            records.append(loaded)
        elif loaded.repetition < study.protocol.repetitions and _is_of(study, loaded):
            records.append(loaded)
    if not records:
        first = damaged[0] if damaged else None
        reason = f"; {name_in(first.where)}: {first.reason}" if first else ""
        raise BadInputError(
            f"{store.where}: holds no run of {study.where}; it is of study {own.name}{reason}"
        )
    return [record for record in records if record.architecture in architectures]


def _check_packed(record: RunRecord, study: Study, where: str) -> None:
    if record.architecture not in study.architectures:
        wrong = f"architecture {record.architecture}"
    elif not 0 <= record.repetition < study.protocol.repetitions:
        wrong = f"repetition {record.repetition + 1}"
    else:
        return
    raise BadInputError(
        safe_line(f"{where}: run {record.run_id}: {wrong}: not in the study that it holds")
    )


def count_environments(records: Iterable[RunRecord]) -> int:
    """Return on how many levels of the training environment runs were made, by all machines."""
    return len({(record.environment["name"], *_place(record)) for record in records})


def _is_of(study: Study, record: RunRecord) -> bool:
    """Return whether a record is of a run that the study plans, on whichever machine."""
    try:
        spec = EnvironmentSpec.model_validate(record.environment)
    except ValidationError:
        return False  # of a version that knew other environments
    if not environment.is_environment_of(spec, study):
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


def disambiguate_environments(records: Sequence[RunRecord]) -> list[RunRecord]:
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


def sort_records(records: Sequence[RunRecord], study: Study) -> list[RunRecord]:
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
