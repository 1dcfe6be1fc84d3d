"""The whole configuration: `Settings` is what a user may say, `RunConfig` what a run receives."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from settings.schema import loggers, loss_names, names, optimizers, schedules, sections, signatures
from settings.schema.sections import Count, FolderName, NotNegative, Number, Part, Section, Text, Texts

STRATEGIES = Literal[
    "auto", "single_device", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false"
]  # fmt: skip
PRECISIONS = Literal[
    "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true", "transformer-engine",
    "transformer-engine-float16", "bf16", "16", "32", "64", 16, 32, 64, "auto",
]  # fmt: skip
Clock = Annotated[str, StringConstraints(pattern=r"^\d{2,}:\d{2}:\d{2}:\d{2}$")]

NOT_TRAINER_ARGUMENTS = {
    "logger": "logger=csv, logger=wandb or logger=[wandb,tensorboard]",
    "callbacks": "callbacks.KEY",
    "fast_dev_run": "debug=fast",
    "overfit_batches": "data.overfit_batches",
    "enable_checkpointing": "callbacks.checkpoint (a run always keeps its last and best)",
    "enable_progress_bar": "callbacks.progress",
    "default_root_dir": "paths.runs",
    "use_distributed_sampler": "nothing (the data slices its batches by rank itself)",
    "barebones": "callbacks=none",
    "plugins": "trainer.precision and trainer.strategy",
    "enable_autolog_hparams": "nothing (config.yaml is always logged)",
    "model_registry": "model.name",
    "limit_predict_batches": "predict.py images=",
}
"""Arguments of lightning.Trainer that a run fills in itself, and what to use in their place."""


class Trainer(Section):
    """Plain arguments of lightning.Trainer; the last three are ours."""

    max_epochs: Count = 20
    min_epochs: Count | None = None
    max_steps: Literal[-1] | Count = -1
    min_steps: Count | None = None
    max_time: Clock | dict[Literal["weeks", "days", "hours", "minutes", "seconds"], NotNegative] | None = None
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = "auto"
    devices: Literal["auto", -1] | Count | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = 1
    num_nodes: Count = 1
    strategy: STRATEGIES = "auto"
    sync_batchnorm: bool = False
    precision: PRECISIONS = "32-true"
    accumulate_grad_batches: Count = 1
    gradient_clip_val: Annotated[Number, Field(gt=0)] | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    check_val_every_n_epoch: Count = 1
    val_check_interval: Part = None
    log_every_n_steps: Count = 50
    limit_train_batches: Part = None
    limit_val_batches: Part = None
    limit_test_batches: Part = None
    num_sanity_val_steps: Annotated[int, Field(ge=-1)] = 0
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    inference_mode: bool = True
    profiler: Literal["simple", "advanced", "pytorch"] | None = None
    detect_anomaly: bool = False
    enable_model_summary: bool = False
    reload_dataloaders_every_n_epochs: Annotated[int, Field(ge=0)] = 0
    channels_last: bool | None = None
    compile: bool = False
    process_timeout: Count = 1800

    @model_validator(mode="after")
    def _settle_layout(self) -> Trainer:
        if self.channels_last is None and self.precision != "auto":  # which chooses it, too
            self.channels_last = False
        return self

    @property
    def processes(self) -> int | None:
        """How many train together; None where only the machine can tell (auto, -1)."""
        devices = len(self.devices) if isinstance(self.devices, list) else self.devices
        return devices * self.num_nodes if isinstance(devices, int) and devices > 0 else None

    def lightning_arguments(self) -> dict[str, Any]:
        """What is passed to lightning.Trainer: all that is not null and not ours."""
        return {
            key: value
            for key, value in self.model_dump(exclude={"channels_last", "compile", "process_timeout"}).items()
            if value is not None
        }

    def computing_arguments(self) -> dict[str, Any]:
        """Those that say how, not how long: what a second trainer needs to score the result of the first."""
        return {key: value for key, value in self.lightning_arguments().items() if key in COMPUTING}


COMPUTING = frozenset(
    {"accelerator", "devices", "num_nodes", "strategy", "precision", "deterministic", "benchmark"}
    | {"inference_mode", "limit_val_batches", "limit_test_batches"}
)


Metrics = Annotated[dict[str, dict[str, Any]], BeforeValidator(sections.by_name)]
"""Metrics beside the task's own: a list of names, or name -> arguments."""


class Settings(Section):
    """All that configs/ and the command line may say, in the order in which config.yaml is written."""

    experiment: str | None = None
    debug: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    name: FolderName | None = None
    test: bool = True
    resume: Text | None = None
    resume_allow: Texts = []
    monitor: Text | None = None
    monitor_mode: Literal["max", "min"] | None = None
    traceback: bool = False
    paths: sections.Paths = sections.Paths()
    data: sections.Data = sections.Data(_target_="datamodules.digits.Digits")
    task: str | None = None
    model: sections.Model = sections.Model()
    transfer: sections.Transfer = sections.Transfer()
    augment: dict[str, dict[str, Any] | None] = {}
    loss: sections.Loss = sections.Loss.model_validate({"label_smoothing": 0.0})
    metrics: Metrics = {}
    optimizer: sections.Optimizer = sections.Optimizer(lr=0.01, weight_decay=0.05)
    scheduler: sections.Scheduler = sections.Scheduler()
    trainer: Trainer = Trainer()
    callbacks: sections.Callbacks = sections.Callbacks()
    logger: sections.Logger = sections.Logger()

    @property
    def chosen_task(self) -> str:
        """The task: the one that is named, else the data's."""
        return self.task or names.default_task(self.data.target, self.data.root)


class RunConfig(Settings):
    """A checked configuration, and where it came from."""

    command: list[str] = Field([], exclude=True)
    dropped_augment: list[str] = Field([], exclude=True)
    run_folder: Path | None = Field(None, exclude=True)
    parent: Path | None = Field(None, exclude=True)

    @property
    def watched(self) -> tuple[str, str]:
        """The monitor, and which end of it is good: `max` or `min`."""
        assert self.monitor is not None and self.monitor_mode is not None, "settled"
        return self.monitor, self.monitor_mode

    @property
    def kind(self) -> str:
        """The folder that runs like this one share."""
        return self.experiment or f"{self.data.name}-{self.model.name}"

    def to_plain(self) -> dict[str, Any]:
        """Plain values, enough to repeat the run; `config_from_plain` is the way back."""
        plain = super().to_plain()
        if self.model.source == "own":
            del plain["model"]["arguments"]
        return plain

    def without_consents(self) -> RunConfig:
        """As it is stored: what a user agrees to once, for one resume, is no part of the run."""
        once = {"scheduler": self.scheduler.model_copy(update={"restart": False}), "resume_allow": []}
        return self.model_copy(update=once)

    def handed_over(self) -> str:
        """The whole of it as JSON, for the other processes of the run; `taken_over` is the way back."""
        beside = {"command": self.command, "dropped_augment": self.dropped_augment}
        folders = [path and str(path) for path in (self.run_folder, self.parent)]
        return json.dumps([{**self.to_plain(), **beside}, folders])

    def to_yaml(self) -> str:
        """The text of config.yaml."""
        return yaml.safe_dump(self.to_plain(), sort_keys=False, allow_unicode=True)


FORMER_TRAINER_KEYS = ("limit_predict_batches",)
"""What stored configurations hold of options that are no more; they changed nothing."""


def without_former_keys(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration as one of today, without what was agreed to once."""
    plain = dict(stored)
    trainer, callbacks = plain.get("trainer"), plain.get("callbacks")
    if isinstance(trainer, Mapping):  # what has another form, the schema reports
        plain["trainer"] = {key: value for key, value in trainer.items() if key not in FORMER_TRAINER_KEYS}
    if isinstance(callbacks, Mapping) and isinstance(callbacks.get("ema"), Mapping):  # made before it was warmed up
        plain["callbacks"] = {**callbacks, "ema": {"warm_up": False, **callbacks["ema"]}}
    scheduler = plain.get("scheduler")
    if isinstance(scheduler, Mapping) and "restart" in scheduler:
        plain["scheduler"] = {**scheduler, "restart": False}
    return plain


def config_from_plain(stored: Mapping[str, Any]) -> RunConfig:
    """The configuration of an earlier run, checked again.

    Raises:
        pydantic.ValidationError: the file was changed, or comes from another version.
    """
    return RunConfig.model_validate(without_former_keys(stored))


def taken_over(text: str) -> RunConfig:
    """The configuration that another process of the run has handed over."""
    values, folders = json.loads(text)
    config = RunConfig.model_validate(values)
    config.run_folder, config.parent = (path and Path(path) for path in folders)
    return config


def options(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that an annotation allows: `Logger` gives CSVLogger, WandbLogger, ..."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from options(inner)


def fields_of(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """All dotted keys of a section, those of every choice of a group among them."""
    for name, info in model.model_fields.items():
        key = above + (info.alias or name)
        yield key
        for inner in options(info.annotation):
            yield from fields_of(inner, key + ".")


@cache
def all_keys() -> list[str]:
    """Every key there is, whatever is chosen: what a mistyped one is compared with."""
    nets = [f"model.{key}" for name in names.nets() for key in _arguments(names.net_target(name))]
    modes = [f"transfer.{key}" for target in names.transfer_modes().values() for key in _arguments(target)]
    losses = [f"loss.{key}" for name in loss_names.known() for key in _arguments(loss_names.target(name))]
    own = [f"optimizer.{key}" for name in optimizers.own() for key in _arguments(optimizers.target(name))]
    shapes = [f"scheduler.{key}" for name in schedules.own() for key in _arguments(schedules.target(name))]
    trackers = [f"logger.{key}" for name in loggers.own() for key in loggers.arguments([name])]
    return list(dict.fromkeys([*fields_of(Settings), *nets, *modes, *losses, *own, *shapes, *trackers]))


@cache
def _arguments(target: str | None) -> list[str]:
    """What a net, a mode, a loss takes; nothing where it is not there, which is reported when it is chosen."""
    filled_in = names.FILLED_IN_OWN_NETS | loss_names.FILLED_IN | optimizers.FILLED_IN | schedules.FILLED_IN
    try:
        return signatures.names(target, ours=filled_in) if target else []
    except signatures.NotFoundInSource:
        return []


def text_keys() -> frozenset[str]:
    """Keys whose values are paths or free text, taken literally on the command line."""
    return frozenset(
        {
            "name",
            "resume",
            "paths.runs",
            "paths.data",
            "data.root",
            "data.name",
            "model.name",
            "model.weights",
        }
    )


def path_keys() -> frozenset[str]:
    """Those of them that are paths for certain."""
    return frozenset({"paths.runs", "paths.data", "data.root"})
