"""What a configuration may say: every key with its type and range. No torch: a typo answers at once.

A forker's own data set, net, callback or operation adds nothing here: its signature is its schema.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from settings.paths import ROOT
from settings.schema import lightning_callbacks, loggers, names, optimizers, schedules, signatures


def plain_text(value: str) -> str:
    """Text that is not empty and can be written.

    Raises:
        ValueError: what it must be.
    """
    if "\0" in value or not value.strip():
        raise ValueError("must not be empty (null means none)" if "\0" not in value else "must not hold a NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text in UTF-8") from None
    return value


def _folder_name(value: str) -> str:
    """One folder name that every file system takes as it is."""
    plain_text(value)
    if "/" in value or value in (".", ".."):
        raise ValueError("must be the name of one folder, without / and not . or ..")
    if not value.isprintable() or len(value.encode()) > 200:
        raise ValueError("must be the name of one folder: no control characters, at most 200 bytes")
    return value


def _as_path(value: Any) -> Any:
    """Relative paths of a file start at the project's root; those of the command line are absolute by now."""
    if not isinstance(value, str):
        return value
    plain_text(value)
    return ROOT / (Path.home() / value[2:] if value == "~" or value.startswith("~/") else value)


def by_name(value: Any) -> Any:
    """`[a, b]` and `{a: null}` are as good as `{a: {}, b: {}}`."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: {} for name in value}
    return {name: {} if given is None else given for name, given in value.items()} if isinstance(value, dict) else value


def switch(value: Any) -> Any:
    """`callbacks.ema=true` and `=false` are as good as `={}` and `=null`."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


def _not_all_zero(values: list[float]) -> list[float]:
    if not any(values):
        raise ValueError("a list with a weight above 0")
    return values


def _one_or_three(values: list[float]) -> list[float]:
    if len(values) not in (1, 3):
        raise ValueError("a list of 1 or 3 numbers")
    return values


def _above_zero(value: Any) -> Any:
    if value is not None and min(value if isinstance(value, list) else [value]) <= 0:
        raise ValueError("more than 0")
    return value


Number = Annotated[float, BeforeValidator(signatures.exponent)]
Share = Annotated[Number, Field(ge=0, le=1)]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Statistic = Share | Annotated[list[Share], AfterValidator(_one_or_three)] | None
Text = Annotated[str, AfterValidator(plain_text)]
FolderName = Annotated[str, AfterValidator(_folder_name)]
Texts = Annotated[list[Text], BeforeValidator(signatures.one_or_several)]
AnyPath = Annotated[
    Path,
    BeforeValidator(_as_path),
    PlainSerializer(lambda path: str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)),
]
Part = Annotated[int, Field(ge=1)] | Annotated[Number, Field(gt=0, le=1)] | None


class Section(BaseModel):
    """Strict: no unknown key, no text for a number, no true for 1, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    def to_plain(self) -> dict[str, Any]:
        """Plain values, as YAML and checkpoints hold them."""
        return self.model_dump(by_alias=True)


class Paths(Section):
    """Where things lie."""

    runs: AnyPath = ROOT / "runs"
    data: AnyPath = ROOT / "data"


class Loss(Section):
    """What is minimised; any further key is an argument of the loss."""

    model_config = ConfigDict(extra="allow")
    name: str = "cross_entropy"
    class_weights: (
        Literal["none", "balanced"] | Annotated[list[NotNegative], Field(min_length=1), AfterValidator(_not_all_zero)]
    ) = "none"
    auxiliary_weight: NotNegative = 0.3
    l1: NotNegative = 0.0
    l2: NotNegative = 0.0
    terms: dict[str, dict[str, Any]] = {}


class Data(Section):
    """A data set; any further key is an argument of its class."""

    model_config = ConfigDict(extra="allow")
    target: str = Field("datamodules.digits.Digits", alias="_target_")
    name: FolderName = "digits"
    root: AnyPath | None = None
    batch_size: Count | None = 64
    num_workers: Annotated[int, Field(ge=0, le=256)] | None = None
    persistent_workers: bool = True
    worker_timeout: Count = 300
    image_size: Annotated[int, Field(ge=1, le=8192)] | None = None
    resize: Annotated[int, Field(ge=1, le=8192)] | None = None
    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = None
    mean: Statistic = None
    std: Annotated[Statistic, AfterValidator(_above_zero)] = None
    val_fraction: Annotated[Number, Field(gt=0, lt=1)] = 0.1
    split_seed: Annotated[int, Field(ge=0)] = 0
    fraction: Annotated[Number, Field(gt=0, le=1)] = 1.0
    per_class: Count | None = None
    test_images: Count | None = None
    test_views: Literal["centre", "flip", "flip_shift"] = "centre"
    overfit_batches: Annotated[int, Field(ge=0)] = 0
    balance: Literal["none", "oversample"] = "none"
    standardize: Literal["none", "featurewise", "zca"] = "none"
    forbid: list[str] = []

    @property
    def arguments(self) -> dict[str, Any]:
        """The class's own arguments, ready to be passed on."""
        return signatures.convert(self.target, self.model_extra or {})

    def feeding_arguments(self) -> dict[str, Any]:
        """What every data set is asked for: batches, splits, subset."""
        found = self.model_dump(
            include={
                *("batch_size", "num_workers", "persistent_workers", "worker_timeout", "val_fraction", "split_seed"),
                *("fraction", "per_class", "test_images", "test_views", "overfit_batches", "balance"),
            }
        )
        return {key: value for key, value in found.items() if key != "batch_size" or value is not None}

    def image_preparation(self) -> dict[str, Any]:
        """The user's word on it beside the size; None is no word."""
        return self.model_dump(include={"resize", "interpolation", "mean", "std"})


class Model(Section):
    """A net; any further key is an argument of a net of our own."""

    model_config = ConfigDict(extra="allow")
    name: FolderName = "resnet20"
    source: Literal["own", "torchvision", "timm"] = "own"
    weights: Text = "none"
    weights_by_order: bool = False
    pretrained: bool = False
    initialization: Literal["default", "kaiming", "xavier", "orthogonal"] = "default"
    in_channels: Literal[1, 3] | None = None
    arguments: dict[str, Any] = {}

    def net_arguments(self) -> dict[str, Any]:
        """Arguments of the net's constructor beside classes, channels and size."""
        if self.source != "own":
            return dict(self.arguments)
        return signatures.convert(names.net_target(self.name), self.model_extra or {})


class Transfer(Section):
    """Which weights the training starts from and which of them train; any further key is the mode's own."""

    model_config = ConfigDict(extra="allow")
    name: str = "scratch"
    allow_random: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        """The mode's own arguments, ready to be passed on."""
        return signatures.convert(names.transfer_modes()[self.name], self.model_extra or {})


class Optimizer(Section):
    """An optimiser; any further key is an argument of its function or class."""

    model_config = ConfigDict(extra="allow")
    name: Text = "adamw"
    lr: Positive
    weight_decay: NotNegative = 0.0

    @model_validator(mode="after")
    def _convert(self) -> Optimizer:
        _convert_arguments(self, optimizers.target(self.name))
        return self


class Scheduler(Section):
    """A schedule of the learning rate; any further key is an argument of its function or class."""

    model_config = ConfigDict(extra="allow")
    name: Text = "one_cycle"
    warmup_epochs: NotNegative = 0
    restart: bool = False

    @model_validator(mode="after")
    def _convert(self) -> Scheduler:
        _convert_arguments(self, schedules.target(self.name))
        return self


def _convert_arguments(section: Section, target: str | None) -> None:
    """Turn the section's further keys into what `target` wants; what is wrong with them is `checks` to say."""
    if target is not None and section.model_extra:
        with suppress(ValidationError, signatures.NotFoundInSource):
            section.model_extra.update(signatures.convert(target, section.model_extra))


Memory = Annotated[Number, Field(ge=0, lt=1)]


class EarlyStopping(Section):  # noqa: D101
    patience: Annotated[int, Field(ge=0)] = 10
    min_delta: NotNegative = 0.0
    stopping_threshold: Number | None = None


class EMA(Section):  # noqa: D101
    decay: Memory = 0.999
    every_n_steps: Count = 1
    start_step: Annotated[int, Field(ge=0)] = 0
    warm_up: bool = True


class LearningRate(Section):  # noqa: D101
    every_n_steps: Count = 50


class Checkpoint(Section):  # noqa: D101
    every_n_steps: Count | None = None


class Finite(Section):  # noqa: D101
    every_n_steps: Count = 50


class Report(Section):  # noqa: D101
    hardest: Annotated[int, Field(ge=0, le=500)] = 24
    augmented: Annotated[int, Field(ge=0, le=50)] = 6


class Callbacks(Section):
    """Ours; any further key is a callback of the forker's or Lightning's: a mapping with `_target_` and arguments."""

    model_config = ConfigDict(extra="allow")
    early_stopping: Annotated[EarlyStopping | None, BeforeValidator(switch)] = None
    ema: Annotated[EMA | None, BeforeValidator(switch)] = None
    learning_rate: Annotated[LearningRate | None, BeforeValidator(switch)] = LearningRate()
    checkpoint: Checkpoint = Checkpoint()
    finite: Finite = Finite()
    progress: bool = True
    features_once: bool = True
    report: Annotated[Report | None, BeforeValidator(switch)] = Report()

    def to_plain(self) -> dict[str, Any]:
        """Sections by name; arguments of the forker's callbacks as their constructors want them."""
        plain = super().to_plain()
        for name, given in (self.model_extra or {}).items():
            if given is not None:
                own = {key: value for key, value in given.items() if key != "_target_"}
                target = lightning_callbacks.source_of(given["_target_"])
                plain[name] = {"_target_": target, **signatures.convert(target, own)}
        return plain


class Logger(Section):
    """Where figures go beside metrics.csv, one logger or several; any further key is an argument of theirs."""

    model_config = ConfigDict(extra="allow")
    name: Text | Annotated[list[Text], Field(min_length=1)] = "csv"

    @property
    def names(self) -> list[str]:
        """The loggers, in the order in which they are told."""
        return [self.name] if isinstance(self.name, str) else self.name

    def chosen(self) -> list[dict[str, Any]]:
        """A section each: `_target_` and its arguments, ready to be passed on."""
        return loggers.chosen(self.names, self.model_extra or {})
