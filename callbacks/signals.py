"""SIGTERM, SIGINT and SIGUSR1: finish the optimiser step, save, leave with the exit code that says why."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import torch
from lightning import Callback


class Stopped(Exception):
    """The run was asked to stop by a signal; `exit_code` is 128 + its number, as shells report it.

    Args:
        signum: the signal.
        agreed: whether all processes of the run stop here, and none has to be told.
    """

    def __init__(self, signum: int, *, agreed: bool = False) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.agreed = agreed
        self.told = False
        """Whether another process says so."""
        self.exit_code = 128 + signum

    @property
    def by_keyboard(self) -> bool:
        """Whether a person pressed Ctrl-C, and so still wants to see the result."""
        return self.signum == signal.SIGINT


class StopSignals:
    """Within this context a stop signal is held back while training, and raised as `Stopped` elsewhere.

    While a trainer fits, the first signal only sets `received`; `LastCheckpoint` saves after the current optimiser step
    and raises. A second Ctrl-C leaves at once. Only a process's main thread can catch signals: in another thread
    (some notebooks, test runners) the context does nothing.

    Args:
        speaks: whether to say so when a signal is held back; one process of a run does.
    """

    SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))

    def __init__(self, *, speaks: bool = True) -> None:
        self.received: int | None = None
        self._speaks = speaks
        self.training = False
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
        return {number: signal.signal(number, self._caught) for number in self.SIGNALS}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.ending and number != signal.SIGINT:
            return
        again = self.received is not None
        if self.training and not again:
            self.received = number
            if self._speaks:
                os.write(2, b"\nstopping after this step; Ctrl-C again leaves at once\n")
            return
        if again and number != signal.SIGINT:
            return  # a scheduler repeats itself; only a person's second Ctrl-C means "at once"
        self.received = number
        raise Stopped(number)


class HoldSignals(Callback):
    """Tells `StopSignals` when a step must not be torn, and processes of a run of each other's signals."""

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

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Lightning has put a handler over ours, which among several processes waits for the others."""
        self._signals.install()

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Likewise."""
        self._signals.install()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """From here a signal waits for the end of the step."""
        self._signals.install()  # Lightning has put a handler over ours that stops without saving
        self._signals.training = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The last epoch is saved: a signal may interrupt at once."""
        self._signals.training = False

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """No step is running any more. A launcher that lost another process sends SIGTERM, which changes nothing."""
        self._signals.training = False
        self._signals.ending = not isinstance(exception, Stopped)
