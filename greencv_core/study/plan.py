"""Plan of a study: the ordered list of its runs, and their ids."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from greencv_core.study.schema import Carbon, Dataset, EnvironmentSpec, Protocol, Study

TRAINING_REVISION = 1
"""Increased when the same settings would train differently; part of every run id."""
FILES_REVISION = 2
"""Increased when image files would be read differently; part of the run ids of such data sets.

2: upright by EXIF data, 16-bit images keep their contrast, copies are used once."""
ARRAYS = frozenset(
    {"digits", "synthetic", "cifar10", "cifar100", "emnist", "fashionmnist", "kmnist", "mnist",
     "semeion", "stl10", "svhn", "usps"}
)  # fmt: skip
"""Data sets whose images are not in image files."""
NOT_OF_ONE_RUN = (
    "repetitions", "order", "waves", "seed", "seeds", "idle_s", "warmup_s", "quiet_wait_s",
    "again_if_disturbed",
)  # fmt: skip
"""Fields of the protocol that do not change a single run; its seed is added to the id itself."""


@dataclass(frozen=True)
class PlannedRun:
    """Everything that defines one training of one condition."""

    study: str
    dataset: Dataset
    architecture: str
    environment: EnvironmentSpec
    protocol: Protocol
    carbon: Carbon
    repetition: int
    order: int
    """Position in the randomised order, from 0."""
    machine: str
    accelerator: str = ""
    """Product name of the GPU; empty for the CPU."""
    wall_meter: str | None = None
    """Address of a meter at the computer's plug, as in :attr:`Study.wall_meter`."""

    @property
    def seed(self) -> int:
        """The seed of this repetition."""
        return self.protocol.seed + (self.repetition if self.protocol.seeds == "each" else 0)

    @property
    def condition(self) -> str:
        """Architecture and environment, for people."""
        return f"{self.architecture} @ {self.environment.name}"

    @property
    def title(self) -> str:
        """Condition and repetition, for people."""
        return f"{self.condition}, repetition {self.repetition + 1}"

    @property
    def run_id(self) -> str:
        """Hash of everything that decides the outcome; the name of the run's record.

        The number of repetitions, their order, the carbon intensity and the wall meter are not part
        of it: finished runs stay valid when these change.
        """
        identity = {
            "revision": TRAINING_REVISION,
            "dataset": self.dataset.model_dump(mode="json"),
            "architecture": self.architecture,
            "environment": self.environment.model_dump(mode="json"),
            "protocol": self.protocol.model_dump(mode="json", exclude=set(NOT_OF_ONE_RUN)),
            "repetition": self.repetition,
            "seed": self.seed,
            "machine": self.machine,
            "accelerator": self.accelerator,
        }
        if self.dataset.name not in ARRAYS:
            identity["files_revision"] = FILES_REVISION
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan(
    study: Study,
    environments: Sequence[EnvironmentSpec],
    machine: str,
    *,
    accelerators: Mapping[str, str] | None = None,
    architectures: Iterable[str] | None = None,
) -> list[PlannedRun]:
    """Return the runs of a study in the order in which they are trained.

    Each repetition is a block with every condition once, in an order drawn from the study's seed.
    A drift of the machine then affects all conditions. ``protocol.order: listed`` has no such
    blocks; ``protocol.waves`` puts the blocks of one wave before those of the next. A run's
    protocol has the batch size of its environment, if the environment has one. With
    ``architectures``, return only the runs of these, in the order of the whole plan.

    ``environments`` are those of this machine (:func:`greencv_core.machine.environment.resolve`),
    ``accelerators`` the product names of their GPUs, without environments on the CPU.
    """
    wanted = set(study.architectures if architectures is None else architectures)
    protocol = study.protocol
    arrange = _in_blocks if protocol.order == "blocks" else _as_listed
    waves = [environments]
    if protocol.waves is not None:
        waves = [[spec for spec in environments if spec.name in wave] for wave in protocol.waves]
    ordered = (trial for wave in waves for trial in arrange(study, wave))
    runs = [
        PlannedRun(
            study=study.name,
            dataset=study.dataset,
            architecture=architecture,
            environment=environment,
            protocol=protocol.model_copy(
                update={"batch_size": environment.batch_size or protocol.batch_size}
            ),
            carbon=study.carbon,
            repetition=repetition,
            order=order,
            machine=machine,
            accelerator=(accelerators or {}).get(environment.name, ""),
            wall_meter=study.wall_meter,
        )
        for order, (architecture, environment, repetition) in enumerate(ordered)
    ]
    return [run for run in runs if run.architecture in wanted]


Trial = tuple[str, EnvironmentSpec, int]
"""Architecture, environment, repetition."""


def _in_blocks(study: Study, environments: Sequence[EnvironmentSpec]) -> Iterator[Trial]:
    conditions = [(a, e) for a in study.architectures for e in environments]
    for repetition in range(study.protocol.repetitions):
        block = list(conditions)
        random.Random(f"{study.protocol.seed}:{repetition}").shuffle(block)
        for architecture, environment in block:
            yield architecture, environment, repetition


def _as_listed(study: Study, environments: Sequence[EnvironmentSpec]) -> Iterator[Trial]:
    repetitions = range(study.protocol.repetitions)
    return ((a, e, r) for e in environments for a in study.architectures for r in repetitions)
