"""The one way in which files are written: whole, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def writing(path: Path, *, ending: str = ".tmp", to_disk: bool = False) -> Iterator[Path]:
    """Give a place in the same folder that takes the file's name if all goes well, and is removed if not.

    Args:
        path: the file; its folder exists.
        ending: of the place, for a writer that asks for its own.
        to_disk: wait until the disk has file and name, so that they outlast a power cut.

    Raises:
        OSError: the file cannot be written; what stood under `path` is as it was.
    """
    # Hidden, of this process and this call: other writers of the same file do not meet here.
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex[:8]}{ending}")
    try:
        yield fresh
        if to_disk:
            _sync(fresh, os.O_RDWR)
        fresh.replace(path)
        if to_disk and os.name == "posix":
            _sync(path.parent, os.O_RDONLY)
    finally:
        # There after a failure, and where it was a hard link to the file itself, which renaming leaves as it is.
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, line ends as they are."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file of these bytes."""
    with writing(path) as fresh:
        fresh.write_bytes(content)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
