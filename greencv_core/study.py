"""The study: what is trained, where, how and how often; YAML in, the plan of runs out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)

from greencv_core import bundles
from greencv_core.energy import Component
from greencv_core.errors import BadInputError
from greencv_core.paths import PROJECT_ROOT

TRAINING_REVISION = 1
"""Raised when the same settings would train differently; part of every run's identity."""

LARGEST_SEED = 2**31 - 1
"""With the repetitions added, still a seed for NumPy (less than 2**32)."""

LARGEST_FILE_BYTES = 128 << 10
"""Of a study file; the studies that come with greencv have 1 to 3 kB."""
MOST_VALUES = 5000
"""Values in a study file, each alias counted as all that it stands for."""
MOST_CHARACTERS = 2 * LARGEST_FILE_BYTES
"""Of these values together."""
MOST_LEVELS = 20
"""Values within values."""
LONGEST_NUMBER = 64
"""Characters; Python refuses, or takes long, to print what longer ones stand for."""
MOST_PROBLEMS = 50
"""Lines about one study file."""

NOT_OF_ONE_RUN = ("repetitions", "order", "waves", "seed", "seeds", "idle_s", "warmup_s")
"""Fields of the protocol that say how runs are arranged; a run's own seed is stated besides."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:+-]*$", max_length=80)]
ClassName = Annotated[str, Field(pattern=r"^\P{Cc}+$", max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _twice(names: Sequence[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


class Augmentation(_Strict):
    """Random changes to the training images, each image by its own draw, in this order."""

    crop_padding: int = Field(0, ge=0, le=128)
    """Pixels that are put around, by reflection, before a crop of the old size at random."""
    horizontal_flip: bool = False
    """Mirror every other image."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Largest shift of all pixels, which lie between 0 and 1."""
    contrast: list[float] | None = Field(None, min_length=2, max_length=2)
    """Smallest and largest factor of the distance to the image's mean grey."""
    saturation: list[float] | None = Field(None, min_length=2, max_length=2)
    """Smallest and largest factor of the distance to each pixel's grey."""
    hue: float = Field(0.0, ge=0, le=0.5)
    """Largest turn of the hue, as a share of the full circle."""

    @model_validator(mode="after")
    def _ranges(self) -> Augmentation:
        for name in ("contrast", "saturation"):
            given = getattr(self, name)
            if given is not None and not 0 <= given[0] <= given[1]:
                raise ValueError(f"{name} = {given}: must be two factors from 0 up, lower first")
        return self


class Dataset(_Strict):
    """The images: a name from :mod:`greencv_core.datasets`, their size and the fixed split."""

    name: str = Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]*|imagefolder:.+)$", max_length=1000)
    """``digits``, a data set of torchvision's, ``imagefolder:PATH`` or ``synthetic``."""
    image_size: int = Field(32, ge=8, le=1024)
    """Side of the square images in pixels."""
    train_images: int = Field(ge=2)
    validation_images: int = Field(ge=2)
    split_seed: int = Field(0, ge=0, le=LARGEST_SEED)
    classes: (
        Annotated[
            Annotated[Annotated[int, Field(ge=2, le=100_000)], Tag("number")]
            | Annotated[
                dict[ClassName, Annotated[list[ClassName], Field(min_length=1)]], Tag("mapping")
            ],
            Discriminator(lambda value: "mapping" if isinstance(value, dict) else "number"),
        ]
        | None
    ) = None
    """How many classes ``synthetic`` images have; of any other data set, the classes of this study
    and which of the data set's own belong to each. The data set's own where omitted."""
    augmentation: Augmentation = Augmentation()

    @property
    def meaningful(self) -> bool:
        """Whether a correctness on these images says anything: not if they are made up."""
        return self.name != "synthetic"

    @model_validator(mode="after")
    def _classes_fit(self) -> Dataset:
        if isinstance(self.classes, int) and self.meaningful:
            raise ValueError(
                f"classes = {self.classes}: a number is for synthetic images alone; "
                "here a mapping from class to the data set's own classes"
            )
        if isinstance(self.classes, dict):
            if not self.meaningful:
                raise ValueError("classes: of synthetic images, a number")
            if len(self.classes) < 2:
                raise ValueError("classes: must be at least two")
            own = [name for names in self.classes.values() for name in names]
            twice = _twice(own)
            if twice:
                raise ValueError(f"classes: {', '.join(twice)} named twice: name each once")
        return self


class EnvironmentSpec(_Strict):
    """A training environment as the study asks for it."""

    name: Name
    device: str = Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """``auto`` is the first GPU that can be metered, else the CPU."""
    threads: Annotated[
        Annotated[Annotated[int, Field(ge=1)], Tag("number")]
        | Annotated[Literal["all"], Tag("word")],
        Discriminator(lambda value: "word" if isinstance(value, str) else "number"),
    ] = "all"
    """CPU threads that torch computes with."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    compile: bool = False
    """Whether the model is compiled by ``torch.compile``, before the metered window."""
    batch_size: int | None = Field(None, ge=2, le=65_536)
    """Instead of the protocol's."""
    workers: int = Field(0, ge=0, le=256)
    """Processes that load images which do not fit into memory; 0 loads them between batches."""


Monitor = Literal["f1_macro", "accuracy", "validation_loss"]


class EarlyStopping(_Strict):
    """Stop when the validation figure has not improved by ``min_delta`` for ``patience`` epochs."""

    monitor: Monitor = "f1_macro"
    patience: int = Field(ge=1)
    min_delta: float = Field(0.001, ge=0)
    restore_best: bool = False
    """Whether the model is then that of the best epoch."""


class Plateau(_Strict):
    """Lower the learning rate when the validation figure has not improved for a while."""

    monitor: Monitor = "f1_macro"
    patience: int = Field(ge=1)
    """Epochs without an improvement by ``min_delta`` before the rate is multiplied."""
    min_delta: float = Field(0.001, ge=0)
    factor: float = Field(0.1, gt=0, lt=1)


class Target(_Strict):
    """Stop as soon as the correctness on the validation images is this good."""

    monitor: Literal["f1_macro", "accuracy"] = "f1_macro"
    value: float = Field(gt=0, le=1)


class Budget(_Strict):
    """Begin no epoch that would, at the cost of the dearest one so far, cost more than this."""

    energy_j: float | None = Field(None, gt=0)
    duration_s: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one_at_least(self) -> Budget:
        if self.energy_j is None and self.duration_s is None:
            raise ValueError("must give energy_j, duration_s or both")
        return self


class Stage(_Strict):
    """A part of a training with one optimiser and one course of the learning rate."""

    epochs: int = Field(ge=1, le=10_000)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0, le=10)
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    """Used by ``sgd`` alone."""
    nesterov: bool = True
    """Whether the momentum is Nesterov's."""
    schedule: Literal["one_cycle", "cosine", "constant"] = "constant"
    plateau: Plateau | None = None
    early_stopping: EarlyStopping | None = None

    @model_validator(mode="after")
    def _one_course(self) -> Stage:
        if self.plateau is not None and self.schedule != "constant":
            raise ValueError(
                f"plateau: with schedule = {self.schedule} the learning rate has a course already; "
                "use schedule: constant"
            )
        return self


class Protocol(Stage):
    """How each run is trained, and how runs are repeated."""

    frozen_stage: Stage | None = None
    """A stage before, in which the last layers learn and all others stay as they are."""
    weights: str = Field("none", pattern=r"^(none|imagenet|file:.+)$", max_length=1000)
    """What training starts from: ``none`` (random weights), ``imagenet`` (the library's, with new
    last layers) or ``file:PATH``, in which ``{architecture}`` stands for the architecture."""
    batch_size: int = Field(ge=2, le=65_536)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    batch_norm: Literal["batch", "fixed"] = "batch"
    """In training, normalise by the batch's statistics, or by those that the weights came with."""
    batch_norm_momentum: float | None = Field(None, gt=0, le=1)
    """Weight of the newest batch in the running statistics of batch normalisation; the
    architecture's own where omitted. Few steps need a larger one than the usual 0.1, or the
    statistics used in validation lag behind the weights."""
    target: Target | None = None
    budget: Budget | None = None
    repetitions: int = Field(ge=1, le=1000)
    order: Literal["blocks", "listed"] = "blocks"
    """``blocks``: each repetition holds every condition once, in random order. ``listed``: all
    repetitions of one condition, then those of the next."""
    waves: list[Annotated[list[Name], Field(min_length=1)]] | None = Field(None, min_length=1)
    """Environments by name, in the order in which they are wanted: every repetition of the first
    ones' conditions is made before any of the next. A study that is cut short has whole waves then.
    All environments together where omitted."""
    seed: int = Field(2022, ge=0, le=LARGEST_SEED)
    """Repetition ``r`` is trained with seed ``seed + r``, in every condition alike."""
    seeds: Literal["each", "same"] = "each"
    """``same``: every repetition is trained with ``seed`` itself."""
    idle_s: float = Field(5.0, ge=0.5, le=600)
    """How long idle power is metered before the first run."""
    warmup_s: float = Field(0.0, ge=0, le=7200)
    """How long the machine trains, unmetered, before the first run."""
    cooldown_s: float = Field(0.0, ge=0, le=3600)
    """Pause before every run."""

    @property
    def stages(self) -> tuple[tuple[str, Stage], ...]:
        """The stages in order, each with its name: ``frozen`` and ``main``."""
        frozen = () if self.frozen_stage is None else (("frozen", self.frozen_stage),)
        return (*frozen, ("main", self))

    @property
    def most_epochs(self) -> int:
        """Epochs of all stages, if nothing stops them before."""
        return sum(stage.epochs for _, stage in self.stages)

    @property
    def may_stop_early(self) -> bool:
        """Whether a run may have fewer epochs than :attr:`most_epochs`."""
        if self.target is not None or self.budget is not None:
            return True
        rules = [(stage.epochs, stage.early_stopping) for _, stage in self.stages]
        return any(rule is not None and rule.patience + 1 < epochs for epochs, rule in rules)


class Carbon(_Strict):
    """What a joule emits: the country's mix as CodeCarbon ships it, or a figure of one's own."""

    country: str = Field(pattern=r"^[A-Z]{3}$")
    intensity_gco2e_per_kwh: float | None = Field(None, gt=0)


class Analysis(_Strict):
    """What the analysis must know before it sees the runs."""

    correctness_margin: float = Field(0.02, gt=0, lt=1)
    """The loss of macro F1 that is called negligible: two points where omitted."""
    components: list[Component] | None = Field(None, min_length=1)
    """Whose energy is the outcome, of ``gpu``, ``cpu`` and ``ram``; all that are metered where
    omitted. A GPU's measured joules need not be mixed with a model's guess at the rest."""
    electricity_price_eur_per_kwh: float = Field(0.2872, gt=0)
    """What a saving is worth on the front page: the price for households in the European Union in
    the first half of 2025 (Eurostat, table nrg_pc_204) where omitted."""


class Study(_Strict):
    """A whole study, as its YAML file states it.

    ``environments: auto`` stands for what this machine offers: one CPU thread, all CPU threads
    and, where there is an accelerator whose energy can be metered, that in fp32 and in mixed
    precision.
    """

    name: Name
    description: str = ""
    dataset: Dataset
    architectures: list[Name] = Field(min_length=1)
    environments: Annotated[
        Annotated[list[EnvironmentSpec], Tag("list")] | Annotated[Literal["auto"], Tag("word")],
        Discriminator(lambda value: "list" if isinstance(value, list) else "word"),
    ]
    protocol: Protocol
    carbon: Carbon
    analysis: Analysis = Analysis()
    _where: str = PrivateAttr("")

    @property
    def where(self) -> str:
        """Where to look for what a message is about: the study's file."""
        return self._where or f"study {self.name}"

    def check_architectures(self, names: Iterable[str]) -> None:
        """Raise :class:`BadInputError` where a name is not of an architecture of the study."""
        for name in names:
            if name not in self.architectures:
                raise BadInputError(
                    f"{self.where}: architectures: {name}: not in this study, "
                    f"which has {', '.join(self.architectures)}"
                )

    @model_validator(mode="after")
    def _no_duplicates(self) -> Study:
        names = [] if self.environments == "auto" else [e.name for e in self.environments]
        for what, given in (("architectures", self.architectures), ("environments", names)):
            twice = _twice(given)
            if twice:
                raise ValueError(f"{what}: {', '.join(twice)} named twice: name each once")
        if self.environments == []:
            raise ValueError("environments = []: must be auto or name at least one")
        sizes = {"protocol.batch_size": self.protocol.batch_size}
        for spec in [] if self.environments == "auto" else self.environments:
            if spec.batch_size is not None:
                sizes[f"environment {spec.name}: batch_size"] = spec.batch_size
        for where, size in sizes.items():
            if size > self.dataset.train_images:
                raise ValueError(
                    f"{where} = {size}: must be at most "
                    f"dataset.train_images ({self.dataset.train_images})"
                )
        self._check_waves(names)
        self._check_components()
        if self.protocol.target is not None and not self.dataset.meaningful:
            raise ValueError("protocol.target: synthetic images have no correctness to reach")
        return self

    def _check_components(self) -> None:
        """Refuse an outcome that leaves out the component that does the work."""
        counted = self.analysis.components
        if counted is None:
            return
        if _twice(counted):
            raise ValueError(f"analysis.components: {', '.join(_twice(counted))} named twice")
        specs = [] if self.environments == "auto" else self.environments
        trains = {"cpu"} if self.environments == "auto" else set()
        trains |= {"gpu" if spec.device.startswith("cuda") else "cpu" for spec in specs}
        if lacking := sorted(trains - set(counted)):
            raise ValueError(
                f"analysis.components = {counted}: environments train on the "
                f"{lacking[0].upper()}, whose energy would be left out"
            )

    def _check_waves(self, environments: Sequence[str]) -> None:
        """Refuse waves that do not hold each environment once."""
        if self.protocol.waves is None:
            return
        if self.environments == "auto":
            raise ValueError("protocol.waves: environments = auto has none to name; list them")
        named = [name for wave in self.protocol.waves for name in wave]
        for wrong, which in (
            (_twice(named), "named twice: name each once"),
            (sorted(set(named) - set(environments)), "not among the environments"),
            (sorted(set(environments) - set(named)), "in no wave: name each environment once"),
        ):
            if wrong:
                raise ValueError(f"protocol.waves: {', '.join(wrong)} {which}")


@dataclass(frozen=True)
class PlannedRun:
    """One training of one condition: everything that defines it."""

    study: str
    dataset: Dataset
    architecture: str
    environment: EnvironmentSpec
    protocol: Protocol
    carbon: Carbon
    repetition: int
    order: int
    """Place in the randomised order, from 0."""
    machine: str
    accelerator: str = ""
    """Product name of the GPU that it trains on; empty for the CPU."""

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
        """Hash of all that decides the outcome; the name of the run's record.

        How often the study repeats, in which order, and what a joule emits do not decide a
        single run's outcome and stay out, so that changing them keeps the runs already made.
        """
        protocol = self.protocol.model_dump(mode="json", exclude=set(NOT_OF_ONE_RUN))
        identity = {
            "revision": TRAINING_REVISION,
            "dataset": self.dataset.model_dump(mode="json"),
            "architecture": self.architecture,
            "environment": self.environment.model_dump(mode="json"),
            "protocol": protocol,
            "repetition": self.repetition,
            "seed": self.seed,
            "machine": self.machine,
            "accelerator": self.accelerator,
        }
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_study(source: str | Path) -> Path:
    """Return the file that ``source`` names: a path, or the name of a file in ``studies/``.

    The path may be that of a bundle, which holds its study.

    Raises
    ------
    BadInputError
        There is no such file.
    """
    path = Path(source)
    if bundles.is_bundle(path):
        return path  # whoever opens it tells if it is not there
    named = PROJECT_ROOT / "studies" / path.name
    candidates = [path, named, named.with_suffix(".yaml")] if path.name == str(path) else [path]
    for candidate in candidates:
        # A name that is too long, or a folder that is closed, is an error of the file system.
        with contextlib.suppress(OSError, ValueError):
            if candidate.is_file():
                return candidate
    known = ", ".join(sorted(p.stem for p in (PROJECT_ROOT / "studies").glob("*.yaml")))
    told = _shortened(str(source))
    raise BadInputError(f"{told}: no such study file; give a path, or one of: {known}")


def load_study(source: str | Path) -> Study:
    """Read and check a study file.

    Parameters
    ----------
    source
        Path of a YAML file, or the name of one in ``studies/`` (``quick`` or ``quick.yaml``), or
        the path of a bundle, of which it is the study that was packed.

    Raises
    ------
    BadInputError
        The file is absent, not YAML, or states something a study cannot be; one line a problem,
        each with file, field, value and what is allowed.
    """
    path = find_study(source)
    where = _on_one_line(path)
    text = _text_of(path, where)
    try:
        content = yaml.load(text, Loader=_StudyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if isinstance(error, yaml.reader.ReaderError):
            line = text.count("\n", 0, error.position) + 1
            problem = f" line {line}: a control character (U+{error.character:04X})"
        elif mark is not None:
            problem = f" line {mark.line + 1}, column {mark.column + 1}: {error.problem}"  # type: ignore[attr-defined]
        else:
            problem = f" not valid YAML: {error}"
        raise BadInputError(f"{where}:{_shortened(problem)}") from error
    except RecursionError as error:
        raise BadInputError(f"{where}: {_TOO_DEEP}") from error
    except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
        # Of the library's scanner, which checks neither the code after a backslash nor a version.
        raise BadInputError(f"{where}: {_shortened(f'not valid YAML: {error}')}") from error
    if not isinstance(content, dict):
        raise BadInputError(
            f"{where}: must be a mapping with the fields of a study, e.g. name: mine"
        )
    return checked(content, where)


_TOO_DEEP = f"values within values, more than {MOST_LEVELS} levels deep; a study has no more than 5"


def _text_of(path: Path, where: str) -> str:
    if bundles.is_bundle(path):
        text = bundles.about(path).study
        if len(text) > LARGEST_FILE_BYTES:
            raise _too_large(where)
        return text
    try:
        with path.open("rb") as file:
            written = file.read(LARGEST_FILE_BYTES + 1)
        if len(written) <= LARGEST_FILE_BYTES:
            return written.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a UTF-8 text file"
        raise BadInputError(f"{where}: cannot be read: {reason}") from error
    raise _too_large(where)


def _too_large(where: str) -> BadInputError:
    return BadInputError(
        f"{where}: larger than {LARGEST_FILE_BYTES >> 10} KiB, and so no study file"
    )


def checked(content: Mapping[str, Any], where: str) -> Study:
    """Return the study that fields make.

    Parameters
    ----------
    where
        Where they are from, for messages.

    Raises
    ------
    BadInputError
        See :func:`load_study`.
    """
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        problems = error.errors()
        told = (f"{where}: {_shortened(_told(one))}" for one in problems[:MOST_PROBLEMS])
        lines = list(dict.fromkeys(told))
        if len(problems) > MOST_PROBLEMS:
            lines.append(f"{where}: and {len(problems) - MOST_PROBLEMS} more problems")
        raise BadInputError("\n".join(lines)) from error
    study._where = where
    return study


def plan(
    study: Study,
    environments: Sequence[EnvironmentSpec],
    machine: str,
    *,
    accelerators: Mapping[str, str] | None = None,
    architectures: Iterable[str] | None = None,
) -> list[PlannedRun]:
    """Return the runs of a study in the order in which they are to be made.

    Each repetition is a block that holds every condition once, in an order drawn from the
    study's seed: a drift of the machine then meets all conditions alike. ``protocol.order: listed``
    does without; ``protocol.waves`` makes blocks of one wave's conditions before those of the next.
    A run's protocol holds the batch size of its environment, where that has one.

    Parameters
    ----------
    environments
        The environments of this machine (:func:`greencv_core.environment.resolve`).
    machine
        The machine's fingerprint.
    accelerators
        Environment to the product name of the GPU that it trains on; those on the CPU are absent.
    architectures
        Keep these alone; all of the study's when omitted. The order of what stays is that
        of the whole plan.
    """
    kept = set(study.architectures if architectures is None else architectures)
    protocol = study.protocol
    places = _in_blocks if protocol.order == "blocks" else _as_listed
    ordered = (place for wave in _waves(study, environments) for place in places(study, wave))
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
        )
        for order, (architecture, environment, repetition) in enumerate(ordered)
    ]
    return [run for run in runs if run.architecture in kept]


Place = tuple[str, EnvironmentSpec, int]
"""Architecture, environment, repetition."""


def _waves(
    study: Study, environments: Sequence[EnvironmentSpec]
) -> Iterator[Sequence[EnvironmentSpec]]:
    """Yield a machine's environments, together or by the study's waves."""
    if study.protocol.waves is None:
        yield environments
        return
    for wave in study.protocol.waves:
        yield [spec for spec in environments if spec.name in wave]


def _in_blocks(study: Study, environments: Sequence[EnvironmentSpec]) -> Iterator[Place]:
    conditions = [(a, e) for a in study.architectures for e in environments]
    for repetition in range(study.protocol.repetitions):
        block = list(conditions)
        random.Random(f"{study.protocol.seed}:{repetition}").shuffle(block)
        for architecture, environment in block:
            yield architecture, environment, repetition


def _as_listed(study: Study, environments: Sequence[EnvironmentSpec]) -> Iterator[Place]:
    for environment in environments:
        for architecture in study.architectures:
            for repetition in range(study.protocol.repetitions):
                yield architecture, environment, repetition


class _StudyLoader(yaml.SafeLoader):
    """A safe loader for files of whatever origin: it runs nothing, and its work has a bound.

    It knows plain values, lists and mappings alone, no tags that make anything else. It refuses a
    key given twice, where YAML would keep the last in silence, and reads 1e-4 as the number that
    it is in YAML 1.2; in 1.1, which this library follows, a number with an exponent needs a point.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._values = self._levels = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._values += 1
        self._levels += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self._levels > MOST_LEVELS:
            raise _problem(_TOO_DEEP, mark)
        if self._values > MOST_VALUES:
            raise _problem(f"more than {MOST_VALUES} values: too many for a study", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._levels -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _measure(node, {})
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in _TAGS:
            raise _problem(f"a tag ({node.tag}) that no study needs", node.start_mark)
        try:
            return super().construct_object(node, deep)
        # What the library raises where a value is not what its tag says: !!int x, or 2026-13-45.
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2]
            raise _problem(f"{_short(node.value)} is no {kind}", node.start_mark) from error

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if node.tag in _NUMBERS and len(value) > LONGEST_NUMBER:
            raise _problem(f"{_short(value)} is too long for a number", node.start_mark)
        if _CONTROL.search(value):
            raise _problem("a control character in a value", node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _problem("must be a mapping", node.start_mark)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem("a key must be a plain word", key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _problem(f"{_short(key)} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map", "value")
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def _problem(text: str, mark: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, mark)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int, int]]) -> tuple[int, int, int]:
    """Return the values, characters and levels of a node, its aliases written out.

    Each node is looked at once, however often there are aliases of it.
    """
    if id(node) in known:
        size = known[id(node)]
        if not size[0]:
            raise _problem("a value that holds itself", node.start_mark)
        return size
    known[id(node)] = 0, 0, 0  # begun
    values, characters, levels = 1, 0, 0
    if isinstance(node, yaml.ScalarNode):
        characters = len(node.value)
    else:
        for one in node.value:
            for part in one if isinstance(one, tuple) else (one,):
                more = _measure(part, known)
                values, characters = values + more[0], characters + more[1]
                levels = max(levels, more[2])
    if values > MOST_VALUES or characters > MOST_CHARACTERS:
        raise _problem("too much for a study, with what its aliases stand for", node.start_mark)
    if levels >= MOST_LEVELS:
        raise _problem(_TOO_DEEP, node.start_mark)
    known[id(node)] = values, characters, levels + 1
    return known[id(node)]


_StudyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _told(problem: Any) -> str:
    """Turn one of pydantic's problems into: field, value, what is allowed."""
    kind, context, message = problem["type"], problem.get("ctx", {}), problem["msg"]
    # The branch of a union in the location means nothing to a user.
    branches = ("list", "word", "number", "mapping")
    parts = [p for p in problem["loc"] if p not in branches]
    field = ".".join(str(p) for p in parts)
    if kind == "value_error":
        inner = str(context["error"])
        return f"{field + '.' if field else ''}{inner}"
    if kind == "missing":
        return f"{field}: missing: must be given"
    value = _short(problem["input"])
    if kind == "extra_forbidden":
        model = _model_at(problem["loc"][:-1])
        known = ", ".join(model.model_fields) if model else "see studies/quick.yaml"
        return f"{field} = {value}: unknown field; allowed here: {known}"
    if parts and parts[-1] == "environments":
        message = "must be auto or a list of environments"
    elif parts and parts[-1] == "threads":
        message = "must be a whole number of at least 1, or all"
    elif parts and parts[-1] == "classes":
        message = "must be a number of classes, or a mapping from class to a list of names"
    elif parts == ["dataset", "name"] and kind == "string_pattern_mismatch":
        message = "must be digits, a data set of torchvision's, imagefolder:PATH or synthetic"
    elif kind == "string_pattern_mismatch":
        message = f"must match {_PATTERNS.get(str(parts[-1]), context['pattern'])}"
    else:
        message = message.replace("Input should be", "must be").replace("Value error, ", "")
    return f"{field} = {value}: {message}"


_PATTERNS = {
    "device": "auto, cpu, cuda, cuda:NUMBER or mps",
    "weights": "none, imagenet or file:PATH",
    "country": "a country code of three capital letters, e.g. ESP",
    "name": "letters, digits and . _ : + - alone, at most 80",
}


def _short(value: Any) -> str:
    """Return a value in at most 60 characters, without making a long text of it first."""
    try:
        text = value[:200] if isinstance(value, str) else _BRIEFLY.repr(value)
    except ValueError:  # Python prints no such number
        text = "a number of thousands of digits"
    text = _on_one_line(text)
    return text if len(text) <= 60 else text[:57] + "..."


_BRIEFLY = reprlib.Repr()
_BRIEFLY.maxlevel = 3
_BRIEFLY.maxlist = _BRIEFLY.maxdict = 20


def _shortened(text: str) -> str:
    line = _on_one_line(text)
    leading = " " if text.startswith(" ") else ""
    return leading + (line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 3] + "...")


_LONGEST_LINE = 400


def _on_one_line(text: object) -> str:
    """Return text for people, of whatever origin: in one line, and without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def _model_at(location: Sequence[int | str]) -> type[BaseModel] | None:
    models: dict[str, type[BaseModel]] = {
        "dataset": Dataset,
        "protocol": Protocol,
        "augmentation": Augmentation,
        "frozen_stage": Stage,
        "early_stopping": EarlyStopping,
        "plateau": Plateau,
        "target": Target,
        "budget": Budget,
        "carbon": Carbon,
        "analysis": Analysis,
        "environments": EnvironmentSpec,
    }
    names = [part for part in location if isinstance(part, str) and part in models]
    return models[names[-1]] if names else Study
