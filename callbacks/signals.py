"""SIGTERM, SIGINT and SIGUSR1: finish the optimiser step, save, leave with the exit code that says why."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from lightning import Callback


class Stopped(Exception):
    """The run was asked to stop by a signal; `exit_code` is 128 + its number, as shells report it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
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
    """

    SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))

    def __init__(self) -> None:
        self.received: int | None = None
        self.training = False
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
        again = self.received is not None
        if self.training and not again:
            self.received = number
            os.write(2, b"\nstopping after this step; Ctrl-C again leaves at once\n")
            return
        if again and number != signal.SIGINT:
            return  # a scheduler repeats itself; only a person's second Ctrl-C means "at once"
        self.received = number
        raise Stopped(number)


class HoldSignals(Callback):
    """Tells `StopSignals` when a step must not be torn."""

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """From here a signal waits for the end of the step."""
        self._signals.install()  # Lightning has put a handler over ours that stops without saving
        self._signals.training = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The last epoch is saved: a signal may interrupt at once."""
        self._signals.training = False

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """No step is running any more."""
        self._signals.training = False
