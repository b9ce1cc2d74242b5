"""Select the records of a study from a store, and prepare those of several machines."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from os.path import basename

from pydantic import ValidationError

from greencv_core.machine import environment
from greencv_core.machine.hardware import product_name
from greencv_core.records.record import RunRecord
from greencv_core.records.source import load_study
from greencv_core.records.store import Damaged, RecordFile, Store
from greencv_core.records.table_cache import cached_runs_table
from greencv_core.study.plan import PlannedRun
from greencv_core.study.schema import EnvironmentSpec, Study
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import safe_line


def find_record_files(
    study: Study, store: Store, architectures: Collection[str], planned: Collection[str] = ()
) -> tuple[list[RecordFile], list[Damaged]]:
    """Find a study's records in a store, sorted by run id, and its files without a valid record.

    Any machine or device may have made them; run ids ``planned`` on this machine are left out. A
    bundle has at least one record of the study, and none that contradicts its own study.
    """
    if store.is_bundle:
        files, damaged = _find_in_bundle(study, store)
        return [file for file in files if file.record.architecture in architectures], damaged
    table, damaged = cached_runs_table(store)
    candidates = table[
        table["architecture"].isin(list(architectures))
        & (table["repetition"] < study.protocol.repetitions)
        & ~table["run_id"].isin(list(planned))
    ]
    loaded = store.load_files(sorted(candidates["run_id"]))
    files = [f for f in loaded if isinstance(f, RecordFile) and _belongs_to(study, f.record)]
    return files, damaged


def find_records(
    study: Study, store: Store, architectures: Collection[str], planned: Collection[str] = ()
) -> list[RunRecord]:
    """Find a study's records as :func:`find_record_files` does."""
    return [file.record for file in find_record_files(study, store, architectures, planned)[0]]


def _find_in_bundle(study: Study, store: Store) -> tuple[list[RecordFile], list[Damaged]]:
    bundled = load_study(store.location)
    # All records belong to the study that was packed, even if its runs would have other ids now.
    is_packed = bundled.model_dump() == study.model_dump()
    files, damaged = [], []
    for file in store.load_files(store.run_ids()):
        if isinstance(file, Damaged):
            damaged.append(file)
        elif is_packed:
            _check_packed(file.record, study, store.where)
            files.append(file)
        elif file.record.repetition < study.protocol.repetitions and _belongs_to(
            study, file.record
        ):
            files.append(file)
    if not files:
        reason = f"; {basename(damaged[0].where)}: {damaged[0].reason}" if damaged else ""
        raise BadInputError(
            f"{store.where}: contains no run of {study.where}; it is of study "
            f"{bundled.name}{reason}"
        )
    return files, damaged


def _check_packed(record: RunRecord, study: Study, where: str) -> None:
    if record.architecture not in study.architectures:
        wrong = f"architecture {record.architecture}"
    elif not 0 <= record.repetition < study.protocol.repetitions:
        wrong = f"repetition {record.repetition + 1}"
    else:
        return
    raise BadInputError(
        safe_line(f"{where}: run {record.run_id}: {wrong} is not part of the bundle's study")
    )


def _belongs_to(study: Study, record: RunRecord) -> bool:
    """Return whether the study plans this run, on the machine that made it."""
    try:
        spec = EnvironmentSpec.model_validate(record.environment)
    except ValidationError:
        return False  # written by a version with other fields
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


def count_environments(records: Iterable[RunRecord]) -> int:
    """Return the number of environments of the records; each machine has its own."""
    return len({(record.environment["name"], *_machine(record)) for record in records})


def disambiguate_environments(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Add the device to the name of each environment that exists on several machines."""
    devices: dict[str, dict[tuple[str, str], str]] = {}
    # A failed run may not state its device: another run of the same machine does.
    for record in sorted(records, key=lambda record: record.device_name == ""):
        name, machine = record.environment["name"], _machine(record)
        device = product_name(record.device_name) or f"machine {machine[0]}"
        devices.setdefault(name, {}).setdefault(machine, device)
    renamed = []
    for record in records:
        name, machine = record.environment["name"], _machine(record)
        if len(devices[name]) > 1:
            device = devices[name][machine]
            if list(devices[name].values()).count(device) > 1:
                device = f"{device}, machine {machine[0]}"
            named = {**record.environment, "name": f"{name} ({device})"}
            record = record.model_copy(update={"environment": named})
        renamed.append(record)
    return renamed


def _machine(record: RunRecord) -> tuple[str, str]:
    return str(record.machine.get("fingerprint")), record.accelerator


def sort_records(records: Sequence[RunRecord], study: Study) -> list[RunRecord]:
    """Sort by architecture, environment (as listed, then by name) and repetition."""
    if study.environments == "auto":
        listed = list(environment.AUTO_NAMES)
    else:
        listed = [spec.name for spec in study.environments]

    def position(record: RunRecord) -> tuple[int, int, str, int]:
        name = str(record.environment["name"])
        # A disambiguated name continues after the listed one.
        matches = (i for i, known in enumerate(listed) if f"{name} (".startswith(f"{known} ("))
        index = next(matches, len(listed))
        return study.architectures.index(record.architecture), index, name, record.repetition

    return sorted(records, key=position)
