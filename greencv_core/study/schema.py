"""The schema of a study file: data set, architectures, environments, protocol and carbon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag, model_validator

from greencv_core.utils.energy import Component
from greencv_core.utils.errors import BadInputError
from greencv_core.utils.secrets import without_secrets

LARGEST_SEED = 2**31 - 1
"""Largest seed; with the repetitions added it still fits NumPy (less than 2**32)."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:+-]*$", max_length=80)]
ClassName = Annotated[str, Field(pattern=r"^\P{Cc}+$", max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _twice(names: Sequence[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


class Augmentation(_Strict):
    """Random changes to each training image, in this order."""

    crop_padding: int = Field(0, ge=0, le=128)
    """Pixels of reflected padding before a random crop of the original size."""
    horizontal_flip: bool = False
    """Whether each image is mirrored with probability one half."""
    brightness: float = Field(0.0, ge=0, le=1)
    """Largest shift of all pixels (which are between 0 and 1)."""
    contrast: list[float] | None = Field(None, min_length=2, max_length=2)
    """Smallest and largest factor of the distance to the image's mean grey."""
    saturation: list[float] | None = Field(None, min_length=2, max_length=2)
    """Smallest and largest factor of the distance to each pixel's grey."""
    hue: float = Field(0.0, ge=0, le=0.5)
    """Largest rotation of the hue, as a share of the full circle."""

    @model_validator(mode="after")
    def _ranges(self) -> Augmentation:
        for name in ("contrast", "saturation"):
            given = getattr(self, name)
            if given is not None and not 0 <= given[0] <= given[1]:
                raise ValueError(f"{name} = {given}: must be two factors from 0 up, lower first")
        return self


FOLDER = "imagefolder:"
"""Start of the name of a data set that is a folder."""


class Dataset(_Strict):
    """The images: a name from :mod:`greencv_core.datasets`, their size and the fixed split."""

    name: str = Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]*|imagefolder:.+)$", max_length=1000)
    """``digits``, a torchvision data set, ``imagefolder:PATH`` or ``synthetic``."""
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
    """Number of classes of ``synthetic`` images; for any other data set, a mapping from the classes
    of this study to those of the data set. The data set's own classes if omitted."""
    augmentation: Augmentation = Augmentation()
    _study_folder: Path = PrivateAttr(Path())

    @property
    def folder(self) -> Path:
        """The folder of ``imagefolder:PATH``; a relative path starts at the study file's folder."""
        return self._study_folder / Path(self.name.removeprefix(FOLDER)).expanduser()

    @property
    def meaningful(self) -> bool:
        """Whether correctness on these images is meaningful: not on synthetic ones."""
        return self.name != "synthetic"

    @model_validator(mode="after")
    def _classes_fit(self) -> Dataset:
        if isinstance(self.classes, int) and self.meaningful:
            raise ValueError(
                f"classes = {self.classes}: a number is only for synthetic images; "
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
    """A training environment, as a study file describes it."""

    name: Name
    device: str = Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """``auto`` is the first GPU that can be metered, else the CPU."""
    threads: Annotated[
        Annotated[Annotated[int, Field(ge=1)], Tag("number")]
        | Annotated[Literal["all"], Tag("word")],
        Discriminator(lambda value: "word" if isinstance(value, str) else "number"),
    ] = "all"
    """CPU threads of torch."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    compile: bool = False
    """Whether the model is compiled by ``torch.compile``, before the metered window."""
    batch_size: int | None = Field(None, ge=2, le=65_536)
    """Replaces the protocol's batch size."""
    workers: int = Field(0, ge=0, le=256)
    """Processes that load images that do not fit into memory; 0 loads them between batches."""


Monitor = Literal["f1_macro", "accuracy", "validation_loss"]


class EarlyStopping(_Strict):
    """Stop when the validation figure has not improved by ``min_delta`` for ``patience`` epochs."""

    monitor: Monitor = "f1_macro"
    patience: int = Field(ge=1)
    min_delta: float = Field(0.001, ge=0)
    restore_best: bool = False
    """Whether the weights of the best epoch are restored at the end."""


class Plateau(_Strict):
    """Lower the learning rate when the validation figure has not improved for a while."""

    monitor: Monitor = "f1_macro"
    patience: int = Field(ge=1)
    """Epochs without an improvement by ``min_delta`` before the rate is multiplied."""
    min_delta: float = Field(0.001, ge=0)
    factor: float = Field(0.1, gt=0, lt=1)


class Target(_Strict):
    """Stop when the correctness on the validation images reaches a value."""

    monitor: Literal["f1_macro", "accuracy"] = "f1_macro"
    value: float = Field(gt=0, le=1)


class Budget(_Strict):
    """Stop before an epoch that would exceed it, if it cost as much as the costliest one so far."""

    energy_j: float | None = Field(None, gt=0)
    duration_s: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one_at_least(self) -> Budget:
        if self.energy_j is None and self.duration_s is None:
            raise ValueError("must give energy_j, duration_s or both")
        return self


class Stage(_Strict):
    """A part of a training with one optimiser and one learning rate schedule."""

    epochs: int = Field(ge=1, le=10_000)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0, le=10)
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    """Used only by ``sgd``."""
    nesterov: bool = True
    """Whether to use Nesterov momentum."""
    schedule: Literal["one_cycle", "cosine", "constant"] = "constant"
    plateau: Plateau | None = None
    early_stopping: EarlyStopping | None = None

    @model_validator(mode="after")
    def _one_course(self) -> Stage:
        if self.plateau is not None and self.schedule != "constant":
            raise ValueError(
                f"plateau: cannot be combined with schedule = {self.schedule}; "
                "use schedule: constant"
            )
        return self


class Protocol(Stage):
    """How each run is trained, and how runs are repeated."""

    frozen_stage: Stage | None = None
    """First stage, in which only the last layers are trained."""
    weights: str = Field("none", pattern=r"^(none|imagenet|file:.+)$", max_length=1000)
    """Initial weights: ``none`` (random), ``imagenet`` (the library's, with new last layers) or
    ``file:PATH``, where ``{architecture}`` is replaced by the architecture's name."""
    batch_size: int = Field(ge=2, le=65_536)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    batch_norm: Literal["batch", "fixed"] = "batch"
    """Normalise by the batch's statistics in training, or by those of the initial weights."""
    batch_norm_momentum: float | None = Field(None, gt=0, le=1)
    """Weight of the newest batch in the running statistics of batch normalisation; the
    architecture's own if omitted. Short trainings need more than the usual 0.1, or the statistics
    used in validation lag behind the weights."""
    target: Target | None = None
    budget: Budget | None = None
    repetitions: int = Field(ge=1, le=1000)
    order: Literal["blocks", "listed"] = "blocks"
    """``blocks``: each repetition holds every condition once, in random order. ``listed``: all
    repetitions of one condition, then those of the next."""
    waves: list[Annotated[list[Name], Field(min_length=1)]] | None = Field(None, min_length=1)
    """Groups of environments: all repetitions of the first group are trained before those of the
    next. A study that is cut short then has complete groups. One group if omitted."""
    seed: int = Field(2022, ge=0, le=LARGEST_SEED)
    """Repetition ``r`` is trained with seed ``seed + r`` in every condition."""
    seeds: Literal["each", "same"] = "each"
    """``same``: every repetition is trained with ``seed`` itself."""
    idle_s: float = Field(5.0, ge=0.5, le=600)
    """Duration of the measurement of idle power before the first run."""
    warmup_s: float = Field(0.0, ge=0, le=7200)
    """Duration of unmetered training before the first run, to warm up the machine."""
    cooldown_s: float = Field(0.0, ge=0, le=3600)
    """Pause before every run."""
    quiet_wait_s: float = Field(60.0, ge=0, le=3600)
    """Longest wait before a run until other programs leave the machine alone and its temperature
    is back; the run then starts all the same. With 0, nothing is waited for."""
    again_if_disturbed: int = Field(2, ge=0, le=10)
    """How often a disturbed run is made again, after all others. The first undisturbed try
    counts, or else the last."""

    @property
    def stages(self) -> tuple[tuple[str, Stage], ...]:
        """The stages in order, each with its name: ``frozen`` and ``main``."""
        frozen = () if self.frozen_stage is None else (("frozen", self.frozen_stage),)
        return (*frozen, ("main", self))

    @property
    def most_epochs(self) -> int:
        """Number of epochs of all stages, unless a run stops early."""
        return sum(stage.epochs for _, stage in self.stages)

    @property
    def may_stop_early(self) -> bool:
        """Whether a run may have fewer epochs than :attr:`most_epochs`."""
        if self.target is not None or self.budget is not None:
            return True
        rules = [(stage.epochs, stage.early_stopping) for _, stage in self.stages]
        return any(rule is not None and rule.patience + 1 < epochs for epochs, rule in rules)


class Carbon(_Strict):
    """Carbon intensity: that of the country in CodeCarbon's data, or a given figure."""

    country: str = Field(pattern=r"^[A-Z]{3}$")
    intensity_gco2e_per_kwh: float | None = Field(None, gt=0)


class Analysis(_Strict):
    """Choices of the analysis that are made before the runs are seen."""

    correctness_margin: float = Field(0.02, gt=0, lt=1)
    """Loss of macro F1 that counts as negligible; two points if omitted."""
    components: list[Component] | None = Field(None, min_length=1)
    """Components whose energy is analysed, of ``gpu``, ``cpu`` and ``ram``; all metered ones if
    omitted. A GPU's measured energy can so be kept apart from a model's estimate of the rest."""
    electricity_price_eur_per_kwh: float = Field(0.2872, gt=0)
    """Price of a saving on the front page; if omitted, that of households in the European Union in
    the first half of 2025 (Eurostat, table nrg_pc_204)."""


class Study(_Strict):
    """A study, as its YAML file describes it.

    ``environments: auto`` means those of this machine: one CPU thread and all CPU threads. An
    accelerator whose energy can be metered is added in fp32 and in mixed precision.
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
    wall_meter: str | None = Field(None, pattern=r"^https?://[^\s/]+(/\S*)?$", max_length=500)
    """Address of a meter at the computer's plug. Its energy is recorded next to that of the
    components and never added to it. The variable ``GREENCV_WALL_METER`` replaces it."""
    _where: str = PrivateAttr("")

    @property
    def where(self) -> str:
        """The study's file, for messages."""
        return self._where or f"study {self.name}"

    def check_architectures(self, names: Iterable[str]) -> None:
        """Raise :class:`BadInputError` for a name that is not an architecture of the study."""
        for name in names:
            if name not in self.architectures:
                raise BadInputError(
                    f"{self.where}: architectures: {name}: not in this study, "
                    f"which has {', '.join(self.architectures)}"
                )

    @model_validator(mode="after")
    def _no_duplicates(self) -> Study:
        specs = [] if self.environments == "auto" else self.environments
        names = [spec.name for spec in specs]
        for what, given in (("architectures", self.architectures), ("environments", names)):
            twice = _twice(given)
            if twice:
                raise ValueError(f"{what}: {', '.join(twice)} named twice: name each once")
        if self.environments == []:
            raise ValueError("environments = []: must be auto or name at least one")
        sizes = {"protocol.batch_size": self.protocol.batch_size}
        sizes |= {f"environment {s.name}: batch_size": s.batch_size or 0 for s in specs}
        most = self.dataset.train_images
        for where, size in sizes.items():
            if size > most:
                raise ValueError(f"{where} = {size}: must be at most dataset.train_images ({most})")
        self._check_waves(names)
        self._check_components()
        if self.wall_meter and without_secrets(self.wall_meter, {}) != self.wall_meter:
            raise ValueError(
                "wall_meter: contains a password, which would be published with the study; "
                "set the variable GREENCV_WALL_METER to this address instead"
            )
        if self.protocol.target is not None and not self.dataset.meaningful:
            raise ValueError("protocol.target: synthetic images have no correctness to reach")
        return self

    def _check_components(self) -> None:
        """Refuse components that leave out the one that trains."""
        counted = self.analysis.components
        if counted is None:
            return
        if _twice(counted):
            raise ValueError(f"analysis.components: {', '.join(_twice(counted))} named twice")
        specs = [] if self.environments == "auto" else self.environments
        trains = {"cpu"} if self.environments == "auto" else set()
        trains |= {"gpu" if spec.device.startswith(("cuda", "mps")) else "cpu" for spec in specs}
        if missing := sorted(trains - set(counted)):
            raise ValueError(
                f"analysis.components = {counted}: environments train on the "
                f"{missing[0].upper()}, whose energy would be left out"
            )

    def _check_waves(self, environments: Sequence[str]) -> None:
        """Refuse waves that do not contain each environment once."""
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
