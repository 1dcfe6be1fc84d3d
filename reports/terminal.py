"""Tables on the screen, laid out by rich: within the window of a terminal, as wide as they are in a file or a pipe."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from typing import Any

UNBOUNDED = 100_000
"""Characters; nothing is folded for a file or a pipe, so that a script finds a row on a line."""


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows below their columns."""
    print(table_text(header, rows, width=window_width()), flush=True)


def window_width() -> int:
    """Columns of the terminal, or what COLUMNS says; `UNBOUNDED` where there is none."""
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
