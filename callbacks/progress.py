"""How far training is: a bar on a terminal, else one plain line an epoch."""

import logging
import math
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning import Callback, LightningModule, Trainer

from callbacks.throughput import Throughput
from reports.terminal import BAR, window_width

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from models.tasks.base import Task

log = logging.getLogger(__name__)

LONGEST_PAUSE = 2.0
"""Seconds after which the bar moves in any case, so that it is alive with nets of a step a second."""


class Progress(Callback):
    """Show epoch, losses, learning rate, images a second and the time left for the whole run.

    Nothing is read from the device within an epoch, but for the loss when the bar is refreshed. The time left
    assumes that all epochs are trained: early stopping is not foreseen.

    Args:
        refresh_steps: steps between two refreshes of the bar.
        terminal: True draws the bar, False prints lines, None asks standard output what it is.
    """

    def __init__(self, *, refresh_steps: int = 20, terminal: bool | None = None) -> None:
        self.refresh_steps = refresh_steps
        self.terminal = terminal
        self._bar: Bar | None = None
        self._line_due = False
        self._epoch_words: tuple[str, tuple[str, ...]] = ("", ())
        self._started = self._refreshed = 0.0
        self._first_batch = 0
        self._counted = (0, 0.0)
        self._watched: tuple[str, ...] = ()
        """Metrics of the line beside the training loss, and of the bar; there, the newest value stands."""
        self._validated = False
        """Whether this epoch was; Lightning keeps the metrics of the last that was."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and open the bar."""
        task = cast("Task", pl_module)
        self._watched = tuple(dict.fromkeys(("val/loss", f"val/{next(iter(task.metrics))}", task.monitor)))
        self._started = self._refreshed = time.perf_counter()
        self._first_batch = _batches_done(trainer)
        self._line_due = False
        if trainer.is_global_zero and (_is_terminal() if self.terminal is None else self.terminal):
            self._bar = _open_bar(completed=self._first_batch, total=_batches_in_all(trainer))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the epoch before."""
        self._print_line(trainer)
        self._counted = _counts(trainer)
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch has metrics of validation."""
        self._validated = not trainer.sanity_checking

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, at most every `refresh_steps` steps or every two seconds."""
        if self._bar is None:
            return
        now = time.perf_counter()
        if (batch_idx + 1) % self.refresh_steps and now - self._refreshed < LONGEST_PAUSE:
            return
        self._refreshed = now
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        latest = f"loss {float(loss) * trainer.accumulate_grad_batches:.4f}" if loss is not None else ""
        self._move(trainer, f"{_epoch(trainer)}  {latest}{_metrics(trainer, self._watched)}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that a line is due: callbacks come before the task, which has not reported the epoch yet."""
        epoch = _epoch(trainer)
        images, seconds = (now - before for now, before in zip(_counts(trainer), self._counted, strict=True))
        speed = f"  {images / seconds:.0f} images/s" if seconds else ""
        lr = float(trainer.optimizers[0].param_groups[-1]["lr"])
        self._line_due = True
        self._epoch_words = (epoch, (f"  lr {lr:.3g}", speed, _memory(trainer), self._time_left(trainer)))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last line and close the bar."""
        self._print_line(trainer)
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._print_line(trainer)
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal as it was, whatever happened."""
        self._close()

    def _print_line(self, trainer: Trainer) -> None:
        if not (self._line_due and trainer.is_global_zero):
            return
        self._line_due = False
        epoch, rest = self._epoch_words
        names = (name for name in ("train/loss", *self._watched) if self._validated or not name.startswith("val/"))
        metrics = _metrics(trainer, names)
        log.info(f"{epoch}{metrics}{''.join(rest)}")
        line = fitting(epoch + metrics, rest, window_width())
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            self._move(trainer, epoch)

    def _move(self, trainer: Trainer, words: str) -> None:
        assert self._bar is not None
        left = self._time_left(trainer).strip()
        self._bar.update(self._bar.task_ids[0], completed=_batches_done(trainer), words=words, left=left)
        self._bar.refresh()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _time_left(self, trainer: Trainer) -> str:
        """Time for the batches to come, at this session's pace so far, validation and saving included."""
        done, total = _batches_done(trainer), _batches_in_all(trainer)
        if total is None or done <= self._first_batch:
            return ""
        pace = (time.perf_counter() - self._started) / (done - self._first_batch)
        minutes, seconds = divmod(round(pace * max(0, total - done)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"  {hours}:{minutes:02}:{seconds:02} left" if hours else f"  {minutes}:{seconds:02} left"


def fitting(line: str, more: Sequence[str], width: int) -> str:
    """The line with as much of `more` as a window holds, from its end: the time left is missed most."""
    kept: list[str] = []
    for part in reversed(more):
        if len(line) + sum(map(len, kept)) + len(part) <= width:
            kept.insert(0, part)
    return line + "".join(kept)


def _memory(trainer: Trainer) -> str:
    """The most that tensors took on this process's GPU so far, which CUDA's allocator knows without waiting for it."""
    device = trainer.strategy.root_device
    return f"  {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB" if device.type == "cuda" else ""


def _is_terminal() -> bool:
    # Not rich's own test: FORCE_COLOR, common in continuous integration, would put codes into a file.
    return sys.stdout.isatty()


def _open_bar(*, completed: int, total: int | None) -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    bar = Bar(
        BarColumn(bar_width=12, **BAR),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[words]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=Console(file=sys.stdout, force_terminal=True),
        auto_refresh=False,  # a thread of rich's would compete with training
    )
    bar.add_task("", completed=completed, total=total, words="", left="")
    bar.start()
    return bar


def _batches_done(trainer: Trainer) -> int:
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready


def _batches_in_all(trainer: Trainer) -> int | None:
    """Batches of the whole run, None where it has no end."""
    ends = [math.inf]
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        ends.append(trainer.max_epochs * trainer.num_training_batches)
    if trainer.max_steps >= 0:
        ends.append(trainer.max_steps * trainer.accumulate_grad_batches)
    total = min(ends)
    return None if math.isinf(total) else int(total)


def _epoch(trainer: Trainer) -> str:
    last = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{last}"


def _metrics(trainer: Trainer, names: Iterable[str]) -> str:
    known: dict[str, torch.Tensor] = trainer.callback_metrics
    return "".join(f"  {name} {float(known[name]):.4f}" for name in names if name in known)


def _counts(trainer: Trainer) -> tuple[int, float]:
    """Images and seconds of training up to now, where they are counted."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Throughput):
            return callback.samples, callback.seconds
    return 0, 0.0
