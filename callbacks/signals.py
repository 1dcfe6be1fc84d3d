"""SIGTERM, SIGINT and SIGUSR1: finish the optimiser step, save, leave with the exit code that says why."""

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

import torch
from lightning import Callback

from settings.stop import SIGNALS, Stopped

__all__ = ["HoldSignals", "StopSignals", "Stopped"]


class StopSignals:
    """Within this context a stop signal is raised as `Stopped`, but held back while something must not be torn.

    While `held`, the first signal only sets `received`; who held it asks then. A second Ctrl-C leaves at once. Only a
    process's main thread can catch signals: in another thread (some notebooks, test runners) the context does nothing.

    Args:
        speaks: whether to say so when a signal is held back; one process of a run does.
    """

    def __init__(self, *, speaks: bool = True) -> None:
        self.received: int | None = None
        self._speaks = speaks
        self.held = False
        self.ending = False
        """Whether the run is failing already: what is left to do is not interrupted, but by Ctrl-C."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._before = self.install()
        return self

    def install(self) -> dict[int, Any]:
        """Catch the signals; returns the handlers that did until now."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._caught) for number in SIGNALS}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.ending and number != signal.SIGINT:
            return
        again = self.received is not None
        if self.held and not again:
            self.received = number
            if self._speaks:
                with suppress(OSError):  # nobody reads it any more
                    os.write(2, b"\nstopping after this step; Ctrl-C again leaves at once\n")
            return
        if again and number != signal.SIGINT:
            return  # a scheduler repeats itself; only a person's second Ctrl-C means "at once"
        self.received = number
        raise Stopped(number, at_once=self.held)


class HoldSignals(Callback):
    """Holds signals back while a step or an epoch's end must not be torn, and tells the processes of a run of them.

    They are held from a batch's start until `LastCheckpoint`, the last callback, releases them behind it: waiting for
    the next batch and validating change nothing that is saved, and may take long. Processes of a run can only stop
    together, at the moments at which all of them ask; theirs are held all the time.
    """

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._group: Any = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Open a way for numbers of the host: a look at every step must not wait for a GPU."""
        if trainer.world_size > 1:
            self._group = torch.distributed.new_group(backend="gloo", timeout=trainer.strategy._timeout)

    def agreed(self) -> int | None:
        """The signal that any process has received, the same in all; each has to ask at the same step."""
        if self._group is not None:
            number = torch.tensor(self._signals.received or 0)
            torch.distributed.all_reduce(number, op=torch.distributed.ReduceOp.MAX, group=self._group)
            if int(number):  # else a signal that came meanwhile stays for the next step, when all know of it
                self._signals.received = int(number)
            return int(number) or None
        return self._signals.received

    def release(self) -> None:
        """Let a signal interrupt from here on, and one that was held until now.

        Raises:
            Stopped: there was one.
        """
        if self._group is None:
            self._signals.held = False
            if self._signals.received is not None:
                raise Stopped(self._signals.received)

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Lightning has put a handler over ours, which among several processes waits for the others."""
        self._signals.install()

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Likewise."""
        self._signals.install()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Likewise."""
        self._signals.install()
        self._signals.held = self._group is not None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """From here a signal waits for the end of the step."""
        self._signals.held = True

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Averaged weights are about to be put in place of the net's own."""
        self._signals.held = not trainer.sanity_checking

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """They are about to be put back; then the epoch's end follows, which saves."""
        self._signals.held = not trainer.sanity_checking

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The last epoch is saved: a signal may interrupt at once."""
        self._signals.held = False

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """No step is running any more. A launcher that lost another process sends SIGTERM, which changes nothing."""
        self._signals.held = False
        self._signals.ending = not isinstance(exception, Stopped)
