"""The one reader of a run folder's files. Run folders are data from strangers: they are copied, shared, unpacked.

So only regular files are opened (a pipe would be waited for), links are not followed out of the folder (a comparison
would print what only this user may read), and nothing is read beyond a limit. Standard library only.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

from settings.errors import UserError

MOST_BYTES = 10_000_000
MOST_BYTES_OF_TABLE = 1_000_000_000
"""Of metrics.csv and splits.csv, which have a row a step and a row an image."""
MOST_DIGITS = 300
"""Of a whole number that still fits a float."""


def read_bytes(folder: Path, name: str, *, most: int = MOST_BYTES) -> bytes:
    """What a file of a run folder holds.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is no regular file, a link that leads out of the folder, or too large.
        OSError: it cannot be read.
    """
    path = folder / name
    if path.is_symlink():
        place = os.path.realpath(path)
        if not Path(place).is_relative_to(os.path.realpath(folder)):
            raise UserError(f"{name} is a link that leads out of the run folder")
        path = Path(place)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    if not stat.S_ISREG(path.lstat().st_mode):  # opening a device may do something
        raise UserError(f"{name} is no regular file")
    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123  # by its handle
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{name} is no regular file")
        if status.st_size > most:
            raise UserError(f"{name} is too large: {status.st_size} bytes")
        return file.read(most)


def refuse_strange_files(folder: Path) -> None:
    """Look at a run folder before a run writes into it: a link in it would be written through.

    Raises:
        UserError: it holds something else than files and folders, or a link to a file elsewhere.
    """
    real = os.path.realpath(folder)
    for entry in sorted(folder.iterdir()):
        place = Path(os.path.realpath(entry))
        inside = place.is_relative_to(real)
        if not place.is_dir() and not (place.is_file() and inside) and (entry.is_symlink() or place.exists()):
            what = "a link that leads out of the run folder" if not inside else "no regular file"
            raise UserError(f"{entry} is {what}; the run is not resumed")


def read_text(folder: Path, name: str, *, most: int = MOST_BYTES, errors: str = "strict") -> str:
    """The same as text in UTF-8, with its line ends as they are.

    Raises:
        ValueError: as `read_bytes`, or it is no UTF-8.
        OSError: as `read_bytes`.
    """
    return read_bytes(folder, name, most=most).decode("utf-8", errors)


def read_summary_file(folder: Path) -> dict[str, Any]:
    """The mapping in summary.json.

    Raises:
        ValueError: as `read_text`, or it is no JSON mapping.
        OSError: as `read_bytes`.
    """
    try:
        found = json.loads(read_text(folder, "summary.json"), parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is no mapping")
    return found


def _whole(digits: str) -> int | float:
    """A whole number; one that no float holds is infinite, as JSON's own 1e999 is."""
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)
