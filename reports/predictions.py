"""What a prediction leaves behind: a table of rows, as CSV, as JSON lines or on the screen."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from settings.errors import UserError, storage_error
from settings.whole_file import TableWriter, writing

TOP = 5
"""Classes a row shows on the screen."""
WIDEST_NAME, WIDEST_CLASS = 60, 24  # cells of the screen


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the net says of one file.

    Attributes:
        name: the file, as it was named.
        reason: why there is no prediction; None where there is one.
        probabilities: float32 ``(K,)``, None without a prediction.
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


def to_plain(one: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """Give a row as JSON has it; numbers carry all digits of single precision and no more."""
    row: dict[str, Any] = {
        "path": one.name,
        "class": None,
        "probability": None,
        "probabilities": None,
        "reason": one.reason,
    }
    if one.probabilities is not None:
        values = [float(text) for text in digits(one.probabilities)]
        best = int(one.probabilities.argmax())
        row["class"], row["probability"] = class_names[best], values[best]
        row["probabilities"] = dict(zip(class_names, values, strict=True))
    return row


def digits(probabilities: torch.Tensor) -> list[str]:
    """Write float32 so that reading gives the same float32."""
    return [f"{value:.9g}" for value in probabilities.tolist()]


def columns(class_names: Sequence[str]) -> list[str]:
    """Return the header of a CSV file; a class that is called like another column gets a word more."""
    own = ("path", "class", "probability", "reason")
    classes = [f"probability of {name}" if name in own else name for name in class_names]
    return ["path", "class", "probability", *classes, "reason"]


def csv_rows(file: IO[str], class_names: Sequence[str]) -> Callable[[Prediction], None]:
    """Write the header; return what writes a row."""
    rows = TableWriter(file)
    rows.writerow(columns(class_names))

    def write(one: Prediction) -> None:
        if one.probabilities is None:
            rows.writerow([one.name, *[""] * (len(class_names) + 2), one.reason])
        else:
            values, best = digits(one.probabilities), int(one.probabilities.argmax())
            rows.writerow([one.name, class_names[best], values[best], *values, ""])

    return write


def json_rows(file: IO[str], class_names: Sequence[str]) -> Callable[[Prediction], None]:
    """Return what writes a row."""

    def write(one: Prediction) -> None:
        file.write(json.dumps(to_plain(one, class_names), ensure_ascii=False) + "\n")

    return write


def screen_rows(file: IO[str], class_names: Sequence[str], names: Sequence[str]) -> Callable[[Prediction], None]:
    """Write the header; return what writes a row with its likeliest classes.

    Args:
        file: standard output.
        class_names: K names.
        names: of all files, so that the columns stand below each other.
    """
    from rich.cells import cell_len

    shown = min(TOP, len(class_names))
    first = name_width(names)
    width = min(WIDEST_CLASS, max(cell_len(_printable(name)) for name in class_names))

    def line(name: str, cells: Sequence[str]) -> None:
        file.write("  ".join([fitted(name, first, keep_end=True), *cells]).rstrip() + "\n")

    line("path", [fitted(f"{place}.", width + 7) for place in range(1, shown + 1)])

    def write(one: Prediction) -> None:
        if one.probabilities is None:
            line(one.name, [f"not read: {one.reason}"])
            return
        values, classes = one.probabilities.topk(shown)
        line(
            one.name,
            [
                f"{fitted(class_names[k], width)} {value:6.4f}"
                for value, k in zip(values.tolist(), classes.tolist(), strict=True)
            ],
        )

    return write


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

    return min(WIDEST_NAME, max(4, *(cell_len(_printable(name)) for name in names)))


def _printable(name: str) -> str:
    """A name on one line, whatever it holds."""
    return name if name.isprintable() else repr(name)[1:-1]


def fitted(name: str, width: int, *, keep_end: bool = False) -> str:
    """A name in exactly so many cells of the screen; the end of a path says more than its beginning."""
    from rich.cells import cell_len, set_cell_size

    name = _printable(name)
    if cell_len(name) <= width:
        return set_cell_size(name, width)
    if not keep_end:
        return set_cell_size(name, width - 1) + "…"
    while cell_len(name) >= width:
        name = name[1:]
    return set_cell_size("…" + name, width)
