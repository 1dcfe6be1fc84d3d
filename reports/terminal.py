"""Tables and bars on the screen, laid out by rich: within the window of a terminal, plain in a file or a pipe."""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

Row = TypeVar("Row")

UNBOUNDED = 100_000
"""Characters; nothing is folded for a file or a pipe, so that a script finds a row on a line."""


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows below their columns."""
    print(table_text(header, rows, width=window_width()), flush=True)


def window_width() -> int:
    """Columns of the terminal, or what COLUMNS says of it; `UNBOUNDED` where there is none."""
    if not sys.stdout.isatty():
        return UNBOUNDED
    return shutil.get_terminal_size(fallback=(UNBOUNDED, 24)).columns


def table_text(header: Sequence[str], rows: Sequence[Sequence[Any]], *, width: int = UNBOUNDED) -> str:
    """Rows below each other, without colours; a column of numbers stands to the right.

    Args:
        header: a name a column.
        rows: plain values; whole numbers get commas, all else is `str`.
        width: characters of a line; longer cells are folded.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts = [[f"{cell:,}" if type(cell) is int else str(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(header):
        right = bool(rows) and all(_is_number(row[place]) for row in texts)
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for row in texts:
        table.add_row(*map(Text, row))
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _is_number(text: str) -> bool:
    """Whether a cell holds a number, or stands for one that is not there."""
    if text in ("", "-", "–"):
        return True
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True


BAR: dict[str, Any] = {"style": "dim", "complete_style": "cyan", "finished_style": "cyan", "pulse_style": "cyan"}
"""Colours of every bar: rich's own is red until the end, which reads as a failure."""
PAUSE = 10.0
"""Seconds between two lines of progress in a file or a pipe; what takes less time says nothing."""


def progress(rows: Iterable[Row], words: str, *, total: int | None) -> Iterator[Row]:
    """The rows, while standard error shows how far it is: a bar on a terminal, else a line every ten seconds.

    Args:
        rows: what is worked through.
        words: what it is, such as `images`.
        total: how many rows there are; None where nobody knows.
    """
    if sys.stderr.isatty():
        with _bar(counted=total is not None) as bar:
            task = bar.add_task(words, total=total)
            for row in rows:
                yield row
                bar.advance(task)
        return
    last = time.monotonic()
    for done, row in enumerate(rows, start=1):
        yield row
        if time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            print(f"{words}: {done:,}{f' of {total:,}' if total else ''}", file=sys.stderr, flush=True)


@contextmanager
def working(words: str) -> Iterator[None]:
    """Say on standard error what takes its time: with the seconds on a terminal, else as one line.

    Nothing is to be printed meanwhile.
    """
    if not sys.stderr.isatty():
        print(f"{words} ...", file=sys.stderr, flush=True)
        yield
        return
    with _bar(counted=False) as bar:
        bar.add_task(words, total=None)
        yield


def _bar(*, counted: bool) -> Bar:
    """A bar on standard error that is gone when it is over."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn(bar_width=24, **BAR)]
    return Bar(
        *columns,
        *([MofNCompleteColumn()] if counted else []),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
