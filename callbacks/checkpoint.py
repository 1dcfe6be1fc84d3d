"""Best and last checkpoint: whole or not there, of a completed optimiser step, and enough to go on from exactly.

Three facts about Lightning 2.6 shape this file. A file saved inside an accumulation window cannot be resumed from;
one saved on an epoch's last batch skips that epoch's validation; one saved while averaged weights are swapped in
holds the wrong ones. So files are written only on a window's edge that is not the epoch's end, and at the epoch's end
after validation, when all else has been updated. A signal need not wait for that: the file that is written between an
epoch's last step and its end says that the validation is still to be made, and a run that goes on makes it first.
"""

import os
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, Timer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from callbacks.finite import refuse_non_finite, refuse_to_save
from callbacks.signals import HoldSignals, Stopped
from models.checkpoint import is_whole
from settings.errors import StorageError, UserError
from settings.whole_file import writing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to disk, then renames: a kill leaves the old file or the new one.

    Lightning's own goes through the system's temporary folder, which may be another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save `checkpoint` under `path`.

        Raises:
            NumericError: something in it is not finite.
            StorageError: the disk is full, or the folder cannot be written; nothing stands under `path` but what did.
        """
        refuse_to_save(checkpoint)
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with writing(target, to_disk=True) as fresh, fresh.open("wb") as file:
                torch.save(checkpoint, file)
        except Exception as error:
            failure = error if isinstance(error, OSError) else error.__context__  # torch raises its own from it
            if not isinstance(failure, OSError):
                raise
            reason = failure.strerror or failure
            raise StorageError(f"{target}: cannot be saved ({reason}); checkpoints from before are whole") from error


def sweep(folder: Path) -> None:
    """Remove what a killed save left behind."""
    for stale in folder.glob("*.tmp"):
        stale.unlink(missing_ok=True)


def newest_whole(folder: Path) -> tuple[Path, list[Path]]:
    """The newest of last.ckpt and previous.ckpt that is whole, and the damaged ones passed over."""
    damaged: list[Path] = []
    for name in ("last.ckpt", "previous.ckpt"):
        path = folder / name
        if path.is_file():
            if is_whole(path):
                return path, damaged
            damaged.append(path)
    names = ", ".join(str(path) for path in damaged) or f"nothing in {folder}"
    raise UserError(f"no checkpoint to go on from: {names} can be read")


class BestCheckpoint(Checkpoint):
    """Keeps the epoch with the best monitored metric; a tie goes to the lower validation loss.

    Args:
        folder: where best.ckpt goes.
        monitor: the metric, read after validation at the end of an epoch.
        mode: `max` or `min`.
    """

    def __init__(self, *, folder: Path, monitor: str, mode: str) -> None:
        self._path = folder / "best.ckpt"
        self._monitor, self._mode = monitor, mode
        self.best: tuple[float, float] | None = None
        self.epoch: int | None = None
        self.metrics: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Save if this epoch is the best so far; one that ended without validation is not compared."""
        refuse_non_finite(trainer, pl_module)
        metrics = dict(pl_module.epoch_metrics)
        value = pl_module.monitored()
        if value is None:
            self._refuse_missing(trainer, metrics)
            return
        metrics.setdefault(self._monitor, value)
        sign = 1.0 if self._mode == "max" else -1.0
        score = (sign * value, -metrics.get("val/loss", 0.0))
        if self.best is None or score > self.best:
            self.best, self.epoch, self.metrics = score, _epoch(trainer), metrics
            trainer.save_checkpoint(self._path)

    def _refuse_missing(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        """Raise UserError in the first validated epoch if nothing has logged the monitor."""
        if self.best is None and any(name.startswith("val/") for name in metrics):
            logged = sorted({*metrics, *trainer.callback_metrics})
            raise UserError(f"monitor={self._monitor}: nothing logs it; logged are {', '.join(logged)}")

    def state_dict(self) -> dict[str, Any]:
        """Best score, its epoch and its metrics; free of folders, so that a run can move."""
        return {"best": self.best, "epoch": self.epoch, "metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up an earlier best score."""
        self.best = state_dict["best"] and tuple(state_dict["best"])
        self.epoch, self.metrics = state_dict["epoch"], state_dict["metrics"]


class Next(Enum):
    """What a run does next once an optimiser step is complete."""

    BATCH = "batch"
    VALIDATION = "validation"


class LastCheckpoint(Checkpoint):
    """Keeps the newest state that can be gone on from, and stops the run there when a signal asks for it.

    Args:
        folder: where last.ckpt goes; the one before it stays as previous.ckpt.
        signals: knows of stop signals.
        every_n_steps: save also after every so many optimiser steps, `None` at the end of each epoch only.
    """

    def __init__(self, *, folder: Path, signals: HoldSignals, every_n_steps: int | None = None) -> None:
        self._folder = folder
        self._signals = signals
        self._every = every_n_steps
        self._stop_training = False
        self._within_epoch = False
        self._unsaved: Next | None = None
        """What follows on the newest complete step, where no file holds it and it can be saved."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that had already decided to stop does not train another epoch."""
        trainer.should_stop = trainer.should_stop or self._stop_training

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The weights are about to change."""
        self._unsaved = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save on the edge of a window when it is due or when a signal asks to stop."""
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate():
            return
        validates = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
        self._within_epoch = loop._is_training_done and not (validates or loop.batch_progress.is_last_batch)
        if self._within_epoch:  # `max_steps`: with more of them the epoch goes on where it was
            self._unsaved = Next.BATCH
            self._save_now(trainer, pl_module)
        if loop._is_training_done and not validates:
            return  # the epoch's end saves
        self._unsaved = Next.VALIDATION if validates else Next.BATCH
        if (stop := self._signals.agreed()) is not None:
            self._save_now(trainer, pl_module)
            raise Stopped(stop, agreed=True)
        if self._every and trainer.global_step % self._every == 0 and not validates:
            self._save(trainer, pl_module)
        self._signals.release()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the batches of this pass alone: Lightning knows a pass that was not finished by them."""
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing that is saved changes from here to the end of the pass."""
        self._signals.release()

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop here if a signal asks any of several processes to."""
        if not trainer.sanity_checking and (stop := self._signals.agreed()) is not None:
            raise Stopped(stop, agreed=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Within an epoch the next batch follows."""
        if not trainer.sanity_checking and not trainer.fit_loop.epoch_loop._is_training_done:
            self._signals.release()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after everything else of the epoch is done."""
        out_of_time = any(
            isinstance(one, Timer) and (one.time_remaining() or 0.0) <= 0.0
            for one in trainer.callbacks  # type: ignore[attr-defined]
        )
        self._stop_training = trainer.should_stop and not out_of_time  # more time may be given
        if not self._within_epoch:
            self._save(trainer, pl_module)
        if (stop := self._signals.agreed()) is not None:
            raise Stopped(stop, agreed=True)
        self._signals.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the newest step when a signal came behind it."""
        together = trainer.world_size == 1 or (isinstance(exception, Stopped) and exception.agreed)
        if isinstance(exception, Stopped) and not exception.at_once and together and self._unsaved is not None:
            self._save_now(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Whether training was over (early stopping), so that going on does not add an epoch."""
        return {"stop_training": self._stop_training}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up that decision."""
        self._stop_training = state_dict["stop_training"]

    def _save_now(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a run that ends here, whatever it was about to do."""
        assert self._unsaved is not None
        _stand_behind_the_step(trainer, self._unsaved)
        self._save(trainer, pl_module)

    def _save(self, trainer: Trainer, pl_module: Any) -> None:
        refuse_non_finite(trainer, pl_module)
        last, previous = self._folder / "last.ckpt", self._folder / "previous.ckpt"
        if trainer.is_global_zero and last.is_file():
            _keep(last, previous)
        trainer.save_checkpoint(last)
        self._unsaved = None


def _stand_behind_the_step(trainer: Trainer, following: Next) -> None:
    """Set Lightning's counters to where the newest step was complete and what follows had not begun.

    The next batch may have been fetched already, and some batches of the validation seen. Lightning takes a run up in
    validation when it finds that one was begun, and then makes it from its first batch on.
    """
    loop = trainer.fit_loop.epoch_loop
    batches, seen = loop.batch_progress, loop.val_loop.batch_progress
    for count in (batches.total, batches.current):
        count.ready = count.started = count.processed  # type: ignore[attr-defined]
        count.completed = count.processed - (following is Next.BATCH)  # type: ignore[attr-defined]
    if following is Next.BATCH:
        batches.is_last_batch = False
    seen.reset()
    if following is Next.VALIDATION:
        seen.total.ready = seen.total.started = 1  # type: ignore[attr-defined]
    loop._batches_that_stepped = trainer.global_step - 1


def _keep(last: Path, previous: Path) -> None:
    """Let `previous` name today's `last` without a moment in which neither is there."""
    with writing(previous) as link:
        try:
            os.link(last, link)
        except OSError:  # a file system without hard links: a copy costs one write
            import shutil

            shutil.copyfile(last, link)


def _epoch(trainer: Trainer) -> int:
    """Number of the epoch that is ending, from 0."""
    return trainer.current_epoch
