"""What callbacks and reports may ask of the run folder that is being written; `engine/run_folder.py` is the folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol


class RunFolder(Protocol):
    """An open run folder.

    Attributes:
        folder: where it lies.
        writes: whether this process is the one that writes.
        summary: what stands in summary.json.
        loggers: Lightning's loggers of the run.
        signals: has `received`, the signal that asked the run to stop, or None.
    """

    folder: Path
    writes: bool
    summary: dict[str, Any]
    loggers: list[Any]
    signals: Any

    def write(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""

    def write_table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a CSV file."""

    def say(self, line: str) -> None:
        """Print a line, and keep it in train.log."""
