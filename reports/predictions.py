"""What predictions leave behind: a table of rows, as CSV, as JSON lines or on the screen, whatever is predicted.

What stands in the columns is said by the kind of prediction: `class_rows.py`, `label_sets.py`, `masks.py` or
`numbers.py`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import torch

from settings.errors import UserError, storage_error
from settings.whole_file import TableWriter, writing

WIDEST_NAME = 60  # cells of the screen
WORDS = {"probabilities": "probability", "shares": "share"}
"""What one of a column's numbers by class is called."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the net says of one file.

    Attributes:
        name: the file, as it was named.
        reason: why there is no prediction; None where there is one.
        probabilities: float64 ``(K,)``, or the number that is predicted, ``(1,)``; None without a prediction.
        labels: names of the labels that are there, in the order of the classes; of label sets.
        image: what the net saw, uint8 ``(C, S, S)``, before normalisation.
        mask: class of each pixel of the file, uint8 ``(H, W)``, 255 where the net saw nothing; of a segmentation.
        seen: the same of the pixels of `image`.
    """

    name: str
    reason: str | None = None
    probabilities: torch.Tensor | None = None
    labels: tuple[str, ...] = ()
    image: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    seen: torch.Tensor | None = None


class Kind(Protocol):
    """How one kind of prediction reads in a table: a module of this folder, such as `label_sets.py`."""

    def values(self, one: Prediction, class_names: Sequence[str]) -> Mapping[str, Any]:
        """The columns of a prediction between `path` and `reason`.

        A text, a number, a list of texts (`a|b` in CSV), or numbers by class (a column each in CSV).
        """

    def empty(self, class_names: Sequence[str]) -> Mapping[str, Any]:
        """The same columns of a file without a prediction: None, or None by class."""

    def shown(self, class_names: Sequence[str]) -> tuple[Sequence[str], Callable[[Prediction], Sequence[str]]]:
        """Titles of the cells on the screen, none for no line of titles; and what gives the cells of a prediction."""


def to_plain(kind: Kind, one: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """Give a row as JSON has it: path, the kind's columns (null without a prediction), and the reason for that."""
    if one.reason is None:
        found = {name: _read_back(value) for name, value in kind.values(one, class_names).items()}
    else:
        found = dict.fromkeys(kind.empty(class_names))
    return {"path": one.name, **found, "reason": one.reason}


def csv_rows(file: IO[str], kind: Kind, class_names: Sequence[str]) -> Callable[[Prediction], None]:
    """Write the header; return what writes a row. A class that is called like another column gets a word more."""
    rows = TableWriter(file)
    empty = kind.empty(class_names)
    own = {"path", "reason", *(name for name, value in empty.items() if not isinstance(value, Mapping))}
    header = ["path"]
    for name, value in empty.items():
        by_class = [f"{WORDS.get(name, name)} of {one}" if one in own else one for one in value or ()]
        header += by_class if isinstance(value, Mapping) else [name]
    rows.writerow([*header, "reason"])

    def write(one: Prediction) -> None:
        found = empty if one.reason is not None else kind.values(one, class_names)
        cells = [cell for value in found.values() for cell in _cells(value)]
        rows.writerow([one.name, *cells, one.reason or ""])

    return write


def json_rows(file: IO[str], kind: Kind, class_names: Sequence[str]) -> Callable[[Prediction], None]:
    """Return what writes a row."""

    def write(one: Prediction) -> None:
        file.write(json.dumps(to_plain(kind, one, class_names), ensure_ascii=False) + "\n")

    return write


def screen_rows(
    file: IO[str], kind: Kind, class_names: Sequence[str], names: Sequence[str]
) -> Callable[[Prediction], None]:
    """Write the titles, if any; return what writes a row.

    Args:
        file: standard output.
        kind: what is predicted.
        class_names: K names.
        names: of all files, so that the columns stand below each other.
    """
    width = name_width(names)
    titles, cells = kind.shown(class_names)

    def line(name: str, cells: Sequence[str]) -> None:
        file.write("  ".join([fitted(name, width, keep_end=True), *cells]).rstrip() + "\n")

    if titles:
        line("path", titles)

    def write(one: Prediction) -> None:
        line(one.name, cells(one) if one.reason is None else [f"not read: {one.reason}"])

    return write


def digits(value: float) -> str:
    """A number with all digits of single precision and no more; `evaluate.py` writes them so, too."""
    return f"{value:.9g}"


def _read_back(value: Any) -> Any:
    """A value with the digits that a table has of it."""
    if isinstance(value, Mapping):
        return {name: _read_back(one) for name, one in value.items()}
    return float(digits(value)) if isinstance(value, float) else value


def _cells(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [cell for one in value.values() for cell in _cells(one)]
    if isinstance(value, list):
        return ["|".join(value)]
    return ["" if value is None else digits(value) if isinstance(value, float) else str(value)]


@contextmanager
def replaced_when_whole(path: Path, key: str) -> Iterator[Path]:
    """Give a place beside the file that takes its name only when all went well, and is gone otherwise.

    Raises:
        UserError: there can be no such file.
        StorageError: the disk is full or read-only.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{key}={path}: cannot be written ({error.strerror or error})") from error
    try:
        with writing(path, ending=path.suffix) as fresh:  # torch.export wants its own ending
            yield fresh
    except BrokenPipeError:  # the screen's, not the file's
        raise
    except OSError as error:
        refused = UserError(f"{key}={path}: cannot be written ({error.strerror or error})")
        raise storage_error(error, path) or refused from error


@contextmanager
def written_whole(path: Path, key: str) -> Iterator[IO[str]]:
    """Open a text file of that kind; UTF-8, and what is not becomes an escape."""
    with (
        replaced_when_whole(path, key) as fresh,
        fresh.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        yield file


def name_width(names: Sequence[str]) -> int:
    """Cells of the screen that the names take, up to a limit."""
    from rich.cells import cell_len

    return min(WIDEST_NAME, max(4, *(cell_len(printable(name)) for name in names)))


def printable(name: str) -> str:
    """A name on one line, whatever it holds."""
    return name if name.isprintable() else repr(name)[1:-1]


def fitted(name: str, width: int, *, keep_end: bool = False) -> str:
    """A name in exactly so many cells of the screen; the end of a path says more than its beginning."""
    from rich.cells import cell_len, set_cell_size

    name = printable(name)
    if cell_len(name) <= width:
        return set_cell_size(name, width)
    if not keep_end:
        return set_cell_size(name, width - 1) + "…"
    while cell_len(name) >= width:
        name = name[1:]
    return set_cell_size("…" + name, width)
