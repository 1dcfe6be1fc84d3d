"""Standard output and error that may go away: `| head` ends, a terminal is closed, or there was none; no torch.

What is printed then goes nowhere, and the work goes on: it stands in the run's folder as well.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

GONE = frozenset({errno.EPIPE, errno.EIO})
"""Nobody reads the pipe any more; the terminal was closed."""


class Lasting:
    """A text stream that swallows what nobody can read any more; all else of it is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if there is anybody to read it."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        self._attempt(self._stream.flush)

    def _attempt(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except OSError as error:
            if error.errno not in GONE:
                raise
            # Under the stream, so that what it holds, what C code writes and the end of the program find a reader.
            _to_nowhere(self._stream.fileno())
            self._stream.flush()


@contextmanager
def lasting_output() -> Iterator[None]:
    """Within this context what nobody reads ends nothing."""
    before = sys.stdout, sys.stderr
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # closed by `>&-`: the next file that is opened would get its number
            _to_nowhere(number)
            stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, Lasting(stream))
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
