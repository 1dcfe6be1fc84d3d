"""The trainer with its callbacks and loggers, from plain values."""

import inspect
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers.logger import Logger

from callbacks.bad_files import BadFiles
from callbacks.checkpoint import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from callbacks.early_stopping import Patience
from callbacks.ema import RunningAverage
from callbacks.enough_batches import EnoughBatches
from callbacks.features_once import FeaturesOnce
from callbacks.finite import FiniteCheck
from callbacks.learning_rate import LearningRateMonitor
from callbacks.progress import Progress
from callbacks.run_header import RunHeader
from callbacks.same_keys import SameKeys
from callbacks.signals import HoldSignals
from callbacks.throughput import Throughput
from engine.launcher import process_arguments
from engine.run_folder import RunRecord
from reports.report import Report
from settings.errors import UserError
from settings.schema.run_config import Trainer as TrainerSection


@dataclass(frozen=True, kw_only=True)
class Training:
    """A trainer and the callbacks whose findings the run reports."""

    trainer: Trainer
    best: BestCheckpoint
    throughput: Throughput
    enough: EnoughBatches
    report: Report | None


def build_training(
    *,
    record: RunRecord,
    arguments: Mapping[str, Any],
    callbacks: Mapping[str, Any],
    monitor: str,
    monitor_mode: str,
    loggers: list[Logger],
    find_unused: bool = False,
    test: bool = True,
    at_least_one: bool = False,
) -> Training:
    """Make the trainer of a run.

    Args:
        record: the open run folder.
        arguments: plain arguments of `lightning.Trainer`.
        callbacks: the configuration's section `callbacks`; a section that is `None` is off.
        monitor: metric of best checkpoint and early stopping.
        monitor_mode: `max` or `min`.
        loggers: where figures go, metrics.csv among them.
        test: whether the run ends with a test.
        at_least_one: whether a limit leaves at least one batch of each split.
        find_unused: whether several processes have to expect parameters without a gradient.
    """
    quieten()
    best = BestCheckpoint(folder=record.checkpoints, monitor=monitor, mode=monitor_mode)
    every = callbacks["checkpoint"]["every_n_steps"]
    signals = HoldSignals(record.signals)
    last = LastCheckpoint(folder=record.checkpoints, signals=signals, every_n_steps=every)
    throughput, enough = Throughput(), EnoughBatches(test=test, at_least_one=at_least_one)
    finite = FiniteCheck(every_n_steps=callbacks["finite"]["every_n_steps"])
    chosen: list[Callback] = [throughput, signals, BadFiles(record), enough, finite]
    if callbacks["features_once"]:
        chosen.append(FeaturesOnce(say=record.say))
    if ema := callbacks["ema"]:
        chosen.append(RunningAverage(**ema, say=record.say))
    if stopping := callbacks["early_stopping"]:
        chosen.append(Patience(monitor=monitor, mode=monitor_mode, **stopping))
    if callbacks["learning_rate"]:
        chosen.append(LearningRateMonitor(**callbacks["learning_rate"]))
    if callbacks["progress"]:
        chosen += [RunHeader(say=record.say), Progress()]
    sections = [value for value in callbacks.values() if isinstance(value, Mapping)]
    chosen += [_named_callback(section, say=record.say) for section in sections if "_target_" in section]
    if len(loggers) > 1:
        from callbacks.loggers.wandb_logger import CheckpointArtifacts

        chosen.append(CheckpointArtifacts(folder=record.checkpoints))
    trainer = refusing(
        arguments,
        **_with_profiler(process_arguments(record.members, arguments, find_unused=find_unused), record.folder),
        logger=loggers,
        callbacks=[*chosen, SameKeys(), best, last],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=record.folder,
        enable_checkpointing=True,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    record.loggers = loggers
    report = Report(**callbacks["report"]) if callbacks["report"] else None
    return Training(trainer=trainer, best=best, throughput=throughput, enough=enough, report=report)


def refusing(said: Mapping[str, Any], **arguments: Any) -> Trainer:
    """Lightning's trainer; what it refuses is a mistake in the section `trainer`.

    Args:
        said: plain arguments as the configuration has them.
        arguments: all that it is made with.

    Raises:
        UserError: with the key that Lightning's text names, else with those that are not at their defaults.
    """
    try:
        return Trainer(**arguments)
    except (MisconfigurationException, ValueError, TypeError, ImportError, RuntimeError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        usual = TrainerSection().lightning_arguments()
        changed = [key for key, value in said.items() if value != usual.get(key)]
        named = [key for key in changed if key in text or str(said[key]) in text] or changed or list(said)
        keys = ", ".join(f"trainer.{key}={said[key]}" for key in named)
        raise UserError(f"{keys}: Lightning refuses it: {text}") from error


def _named_callback(section: Mapping[str, Any], *, say: Callable[[str], None]) -> Callback:
    """A callback named by `_target_`, the user's or Lightning's, which the configuration has checked.

    One whose constructor has a parameter `say` gets what prints a line and keeps it in the run's log.
    """
    module, _, name = section["_target_"].rpartition(".")
    kind = getattr(import_module(module), name)
    arguments = {key: value for key, value in section.items() if key != "_target_"}
    if "say" in inspect.signature(kind).parameters:
        arguments["say"] = say
    return kind(**arguments)


def _with_profiler(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Turn a profiler's name into one that writes into the run folder."""
    arguments = dict(arguments)
    name = arguments.get("profiler")
    if name in ("simple", "advanced"):
        from lightning.pytorch import profilers

        kind = {"simple": profilers.SimpleProfiler, "advanced": profilers.AdvancedProfiler}[name]
        arguments["profiler"] = kind(dirpath=folder, filename="profile")
    return arguments


def quieten() -> None:
    """Keep advertisements and warnings that do not apply here off the screen; the log keeps the rest."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        r"The '.*_dataloader' does not have many workers.*",  # arrays are handed over whole, faster than by workers
        r"You're resuming from a checkpoint that ended before the epoch ended.*",  # our sampler starts at the offset
        r"The number of training batches \(.*\) is smaller than the logging interval.*",
        r"Found \d+ module\(s\) in eval mode at the start of training.*",  # frozen ones rest on purpose
        r"Checkpoint directory .* exists and is not empty.*",
        r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
        r"It is recommended to use `self.log\(.*sync_dist=True.*",  # what tasks log is summed over processes already
    ):
        warnings.filterwarnings("ignore", message=message)
