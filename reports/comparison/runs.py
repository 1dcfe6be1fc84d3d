"""A run folder as data, whatever state it is in: what is damaged is named, and nothing is written or executed."""

import csv
import hashlib
import io
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.setting_values import flat
from settings import stored_files
from settings.errors import UserError
from settings.reading import files
from settings.run_names import all_below, find_runs, is_run, run_of

STATUSES = ("finished", "interrupted", "failed", "running", "killed", "damaged")


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What a run folder says.

    Args:
        folder: the folder.
        label: `<kind>/<name>`.
        status: one of STATUSES; `killed` is a run that says it is running while no process holds its folder.
        reason: why it failed or what is damaged, empty for a finished run.
        config: dotted key -> value of config.yaml; a list is one value.
        metrics: those of the best checkpoint, finite ones only.
        facts: the plain numbers and texts of summary.json.
        test_images: hash of the keys of its test images; empty where splits.csv names none.
        val_images: the same for the validation images.
        modes: metric -> `max` or `min`, the task's first metric in front; empty for runs of older versions.
    """

    folder: Path
    label: str
    status: str
    reason: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    test_images: str = ""
    val_images: str = ""
    modes: Mapping[str, str] = field(default_factory=dict)

    @property
    def seed(self) -> Any:
        """The seed, None where the configuration cannot be read."""
        return self.config.get("seed")

    def known_keys(self) -> list[str]:
        """Everything that `value` answers to."""
        return [*self.metrics, *self.facts, *self.config, "run", "status"]

    def value(self, key: str) -> Any:
        """A metric, a fact of the summary or a key of the configuration; `model` means `model.name`."""
        if key in ("run", "status"):
            return self.label if key == "run" else self.status
        for place in (self.metrics, self.facts, self.config):
            if key in place:
                return place[key]
        return self.config.get(f"{key}.name")

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Metric -> (epoch from 1, value) of metrics.csv; rows that cannot be read are passed over."""
        curves: dict[str, list[tuple[int, float]]] = {}
        for row in _rows(self.folder):
            epoch = number(row.get("epoch"))
            for name, text in row.items():
                value = number(text)
                if epoch is not None and value is not None and name not in ("step", "epoch"):
                    curves.setdefault(str(name), []).append((int(epoch) + 1, value))
        return curves


def read_run(folder: Path) -> Run:
    """Read one run folder; never raises for what is in it."""
    wrong: list[str] = []
    summary = _read_summary(folder, wrong)
    config: dict[str, Any] = {}
    if os.path.lexists(folder / "config.yaml"):
        document = files.read_stored(folder, "config.yaml")
        wrong += document.problems
        config = flat(document.content)
    else:
        wrong.append("config.yaml is missing")
    status = summary.get("status")
    if status == "running" and not _is_held(folder):
        status = "killed"
    given = summary.get("metrics")
    metrics = {
        key: found
        for key, one in (given if isinstance(given, dict) else {}).items()
        if (found := _finite(one)) is not None
    }
    reason = str(summary.get("reason") or "").strip().partition("\n")[0]
    if status not in STATUSES or wrong:
        status, reason = "damaged", "; ".join(wrong) or f"summary.json: unknown status {status!r:.40}"
    return Run(
        folder=folder,
        label="/".join(folder.parts[-2:]),
        status=status,
        reason=reason,
        config=config,
        metrics=metrics,
        facts={key: one for key, one in summary.items() if _is_plain(one) and key != "status"},
        modes=_modes(summary.get("metric_modes")),
        **_split_hashes(folder),
    )


def _modes(stored: Any) -> dict[str, str]:
    """Metric -> `max` or `min`; what is anything else in the file is left out."""
    return {name: mode for name, mode in (stored if isinstance(stored, dict) else {}).items() if mode in ("max", "min")}


def find_folders(wanted: Sequence[str], runs: Path) -> list[Path]:
    """The run folders that are meant, each once, in the order of the words.

    Args:
        wanted: words of `settings.run_names.find_runs`; empty for all runs.
        runs: folder of all runs.

    Raises:
        UserError: words that mean no run, all together, with the nearest names.
    """
    words = [word for word in wanted if word.strip()]
    found = [run_of(path) for path in find_runs(words, runs, key="")] if words else list(all_below(runs))
    if strange := [folder for folder in found if not is_run(folder)]:
        raise UserError(*(f"{folder}: is no run folder; a checkpoint alone has no metrics" for folder in strange))
    if not found:
        raise UserError(f"there is no run in {runs}; `python train.py` makes one, paths.runs=FOLDER looks elsewhere")
    return list(dict.fromkeys(found))


def number(text: Any) -> float | None:
    """A finite number, None for all else."""
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _finite(value: Any) -> float | None:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _read_summary(folder: Path, wrong: list[str]) -> dict[str, Any]:
    try:
        return stored_files.read_summary_file(folder)
    except FileNotFoundError:
        wrong.append("summary.json is missing")
    except (OSError, ValueError) as error:
        wrong.append(f"summary.json cannot be read ({' '.join(str(error).split())[:80]})")
    return {}


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    """The rows of metrics.csv as far as it can be read."""
    most = stored_files.MOST_BYTES_OF_TABLE
    try:
        text = stored_files.read_text(folder, "metrics.csv", most=most, errors="replace")
        yield from csv.DictReader(io.StringIO(text, newline=""))
    except (OSError, ValueError, csv.Error):
        return


def _split_hashes(folder: Path) -> dict[str, str]:
    """A hash of the keys and classes of the test and of the validation images, in any order."""
    hashes = {}
    try:
        lines = stored_files.read_bytes(folder, "splits.csv", most=stored_files.MOST_BYTES_OF_TABLE).splitlines()
    except (OSError, ValueError):
        lines = []
    for split in ("test", "val"):
        keys = sorted(line for line in lines if line.endswith(f",{split}".encode()))
        hashes[f"{split}_images"] = hashlib.sha256(b"\n".join(keys)).hexdigest()[:12] if keys else ""
    return hashes


def _is_held(folder: Path) -> bool:
    """Whether a process holds the run's lock; looks without making a file, unlike a run that takes it."""
    try:
        import fcntl

        if not stat.S_ISREG((folder / ".lock").lstat().st_mode):  # a pipe would be waited for
            return False
        with (folder / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except ImportError:  # Windows cannot tell: believe the summary
        return True
    except OSError:
        return False
    return False
