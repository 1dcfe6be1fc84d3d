"""What a user is told when something they wrote cannot be: a list of one-line messages and an exit code.

Standard library only, so that every part of the project can raise these without a heavy import.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Sequence

MOST_LINES = 12


class UserError(ValueError):
    """One or several mistakes of the user's, each one line: what is wrong, and what would be right."""

    exit_code = 2

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages: tuple[str, ...] = messages


class NothingLeft(UserError):
    """A run that is over was told to go on; in a grid the other jobs may still have something to do."""


class TooManyBadFiles(UserError):
    """More files cannot be read than the user allows (`data.max_bad_files`)."""

    exit_code = 3


class StorageError(Exception):
    """A disk that is full, read-only, gone or broken: nothing to change in the configuration, but in the machine."""

    exit_code = 4


OUT_OF_MEMORY = "out of memory? Fewer data.num_workers or a smaller data.batch_size take less"
"""What SIGKILL, of which nobody says who sent it, most often means."""


class WorkerFailed(Exception):
    """A process that loads data failed, was killed, or does not answer.

    Args:
        message: one line.
        exit_code: what the run ends with.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


_STORAGE = frozenset(
    getattr(errno, name)
    for name in (
        "ENOSPC",
        "EDQUOT",
        "EROFS",
        "EIO",
        "EFBIG",
        "EACCES",
        "EPERM",
        "ENOTDIR",
        "EISDIR",
        "ENAMETOOLONG",
        "ESTALE",
    )
    if hasattr(errno, name)
)


def storage_error(error: BaseException, path: object = None) -> StorageError | None:
    """The same failure in one line, if it is one of storage.

    Args:
        error: what was raised.
        path: the file that was being written, where the error does not name it.
    """
    if not isinstance(error, OSError) or error.errno not in _STORAGE:
        return None
    where = error.filename or path or "the run folder"
    return StorageError(f"{where}: cannot be written or read: {error.strerror}")


class TooManyOpenFiles(UserError):
    """The system lets a process open fewer files than data workers need."""


def open_files_error(error: BaseException) -> TooManyOpenFiles | None:
    """The same failure in one line, if the limit of open files is what it ran into; None of other errors."""
    number, text = getattr(error, "errno", None), str(error)
    told = ("Too many open files", "received 0 items of ancdata", f"[Errno {errno.EMFILE}]")
    if number not in (errno.EMFILE, errno.ENFILE) and not (
        isinstance(error, RuntimeError | OSError) and any(word in text for word in told)
    ):
        return None
    return TooManyOpenFiles(
        "too many open files: the limit of this shell (ulimit -n) is too low for data workers; "
        "raise it (ulimit -n 4096), or take data.num_workers=0"
    )


def worker_error(error: BaseException) -> WorkerFailed | None:
    """The failure of a data loader's worker in one line, with its own account as the cause; None of other errors.

    torch tells it in the text alone: of an exception with the worker's whole traceback, or of how the worker ended.
    """
    text = str(error)
    if raised := re.match(r"Caught \w+ in DataLoader (worker process \d+)", text):
        last = text.strip().splitlines()[-1]
        code = getattr(error, "exit_code", 1)  # a mistake of the user's that shows in a worker
        failed = WorkerFailed(f"data {raised[1]} failed: {last} (where: train.log, or traceback=true)", exit_code=code)
    elif isinstance(error, RuntimeError) and text.startswith("DataLoader worker (pid"):
        how = " ".join(text.partition(" Details are lost")[0].split()).rstrip(".")
        how = how.removeprefix("DataLoader ") + (f": {OUT_OF_MEMORY}" if how.endswith("Killed") else "")
        failed = WorkerFailed(f"data {how}")
    else:
        return None
    failed.__cause__ = error
    return failed


def nearest(name: str, choices: Iterable[str], n: int = 3, *, cutoff: float = 0.6) -> list[str]:
    """The up to `n` choices that look most like `name`, best first; empty when nothing comes close."""
    wanted = str(name).lower()
    by_lower: dict[str, str] = {}
    for choice in choices:
        by_lower.setdefault(str(choice).lower(), str(choice))
    found = difflib.get_close_matches(wanted, list(by_lower), n=n, cutoff=cutoff)
    if len(found) < n and len(wanted) >= 2:
        begins = (choice for choice in by_lower if choice.startswith(wanted) or wanted.startswith(choice))
        found += [choice for choice in sorted(begins, key=len) if choice not in found]
    return [by_lower[choice] for choice in found[:n]]


def unknown(kind: str, name: str, choices: Iterable[str]) -> str:
    """`unknown model 'vgg166'; nearest: vgg16, vgg19`, or all choices where none is near and they are few."""
    choices = sorted(str(choice) for choice in choices)
    close = nearest(name, choices)
    name = str(name)
    said = f"unknown {kind} {name if len(name) <= 60 else name[:57] + '...'!r}"
    if close:
        return f"{said}; nearest: {', '.join(close)}"
    if choices and len(choices) <= 12:
        return f"{said}; there is: {', '.join(choices)}"
    return f"{said}; none of {len(choices)} names is near it"


def shorten(messages: Sequence[str], most: int = MOST_LINES) -> list[str]:
    """At most `most` lines, each at most 300 characters; the last one counts the messages left out."""
    lines = [
        " ".join(line.split()) if len(line) <= 300 else line[:299] + "…"
        for message in messages
        for line in message.splitlines()
    ]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"... and {len(lines) - most + 1} more"]
