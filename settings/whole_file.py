"""The one way in which files are written: whole, or not at all."""

import csv
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
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


class TableWriter:
    """Writes a CSV file whose cells a spreadsheet shows and does not execute; see `safe_cell`."""

    def __init__(self, file: IO[str], *, lineterminator: str = "\n") -> None:
        self._rows = csv.writer(file, lineterminator=lineterminator)

    def writerow(self, cells: Iterable[object]) -> None:
        """Write a row."""
        self._rows.writerow([safe_cell(cell) for cell in cells])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write several."""
        for row in rows:
            self.writerow(row)


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_MARKED = re.compile(r"''*[=+\-@\t\r]")


def safe_cell(value: object) -> object:
    """A cell of a CSV file that a spreadsheet shows and does not execute: `=...` as `'=...`; numbers as they are.

    `plain_cell` takes the mark off again. Source: OWASP, CSV injection.
    """
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def plain_cell(text: str) -> str:
    """What `safe_cell` was given."""
    return text[1:] if _MARKED.match(text) else text


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
