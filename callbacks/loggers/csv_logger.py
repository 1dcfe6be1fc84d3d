"""metrics.csv: one row a step that has something to say, on disk at once."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from settings.whole_file import writing


class CsvLogger(Logger):
    """Write metrics to a CSV file that survives a kill at any moment and a resume.

    Lightning's CSVLogger deletes the file when a run goes on in its folder; this one drops only the rows after the
    checkpoint's step, and what was tested by then, and appends. Figures of the same step share a row, and so do those
    of an earlier step: Lightning counts what a callback logs for an epoch with the epoch's last step, one below the
    steps made.

    Args:
        run_folder: where metrics.csv stands.
        keep_until: last step of earlier rows to keep, `None` to start afresh.
    """

    def __init__(self, *, run_folder: Path, keep_until: int | None = None) -> None:
        super().__init__()
        path = self._path = run_folder / "metrics.csv"
        self._columns = ["epoch", "step"]
        self._rows: list[dict[str, Any]] = []
        self._last_row_at = 0
        if keep_until is not None and path.is_file():
            text = path.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last row short
            reader = csv.DictReader(io.StringIO(whole, newline=""))
            self._columns = [name for name in reader.fieldnames or self._columns if not _is_of_test(name)]
            self._rows = list(_before_the_test(reader, until=keep_until))
        self._written = False

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """There is one file a run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The configuration is in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add figures to the row of `step`; a new column rewrites the file, a known one only its last row."""
        assert step is not None
        same = bool(self._rows) and step <= int(self._rows[-1]["step"])
        row: dict[str, Any] = {} if same else {"step": step}
        row |= {key: _plain(key, value) for key, value in metrics.items()}
        if same:
            self._rows[-1].update(row)
        else:
            self._rows.append(row)
        new = [key for key in row if key not in self._columns]
        self._columns += new
        if new or not self._written:
            self._rewrite()
        else:
            self._write_last(replace=same)

    def _rewrite(self) -> None:
        with writing(self._path) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, restval="")
            writer.writeheader()
            writer.writerows(self._rows[:-1])
            self._last_row_at = file.tell()
            writer.writerow(self._rows[-1])
        self._written = True

    def _write_last(self, *, replace: bool) -> None:
        with self._path.open("r+", newline="", encoding="utf-8") as file:
            if not replace:
                self._last_row_at = file.seek(0, os.SEEK_END)
            file.seek(self._last_row_at)
            csv.DictWriter(file, self._columns, restval="").writerow(self._rows[-1])
            file.truncate()


def _before_the_test(rows: Iterable[dict[str, Any]], *, until: int) -> Iterator[dict[str, Any]]:
    """Rows up to a step without the test that an earlier end of the run has made: it is made anew at the next one."""
    for row in rows:
        if int(row["step"]) <= until:
            kept = {name: value for name, value in row.items() if not _is_of_test(name)}
            if any(value for name, value in kept.items() if name not in ("epoch", "step")):
                yield kept


def _is_of_test(name: str) -> bool:
    return name.startswith("test/")


def _plain(key: str, value: Any) -> Any:
    number = float(value)
    return int(number) if key == "epoch" else number
