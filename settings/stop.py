"""What a signal that asks to stop means before a run has anything to save; standard library only."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
RANKS = ("RANK", "SLURM_PROCID")


class Stopped(BaseException):
    """The run was asked to stop by a signal; `exit_code` is 128 + its number, as shells report it.

    It can come out of any line, as KeyboardInterrupt does: what handles an `Exception`, such as a file that cannot be
    read, must not take it for one.

    Args:
        signum: the signal.
        agreed: whether all processes of the run stop here, and none has to be told.
        at_once: whether a step may be torn, so that nothing can be saved.
    """

    def __init__(self, signum: int, *, agreed: bool = False, at_once: bool = False) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.agreed = agreed
        self.at_once = at_once
        self.told = False
        """Whether another process says so."""
        self.exit_code = 128 + signum

    @property
    def by_keyboard(self) -> bool:
        """Whether a person pressed Ctrl-C, and so still wants to see the result."""
        return self.signum == signal.SIGINT


def leave_at_a_signal() -> None:
    """From now on a stop signal ends this program with one line and its exit code, until a run takes care of it.

    It ends without clean-up, even inside of an import, where an exception may be swallowed; there is nothing to lose.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    own = os.getpid()
    speaks = all(os.environ.get(name, "0") == "0" for name in RANKS)

    def leave(number: int, frame: FrameType | None) -> None:
        if speaks and os.getpid() == own:  # not a worker that was forked off
            with suppress(OSError):  # nobody reads it any more
                os.write(2, f"stopped by {signal.Signals(number).name}\n".encode())
        os._exit(128 + number)

    for number in SIGNALS:
        signal.signal(number, leave)
