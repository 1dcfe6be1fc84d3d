"""Where runs live, what a run says of itself, and whether it is free; standard library only."""

import math
import os
import secrets
import time
from pathlib import Path
from typing import Any

from settings import stored_files
from settings.errors import UserError
from settings.paths import ROOT, as_on_disk


def rooted(path: str | Path) -> Path:
    """A path of the configuration as an absolute one: `~` is the home folder, relative means the project's root."""
    return as_on_disk(ROOT / Path(path).expanduser())


def identity(name: str | None) -> str | None:
    """What makes a restarted command the same run: its name, else its SLURM job, else a real torchrun run id."""
    if name is not None:
        return name
    if job := os.environ.get("SLURM_JOB_ID"):
        return f"slurm-{job}"
    run_id = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return None if run_id == "none" else f"torchrun-{run_id}"


def read_summary(folder: Path) -> dict[str, Any]:
    """A run's summary.json, empty where there is none that can be read."""
    try:
        return stored_files.read_summary_file(folder)
    except (OSError, ValueError):
        return {}


def has_checkpoint(folder: Path) -> bool:
    """Whether the run has saved anything to go on from."""
    return any((folder / "checkpoints" / name).is_file() for name in ("last.ckpt", "previous.ckpt"))


def in_use(folder: Path) -> bool:
    """Whether a living process writes this run folder."""
    lock = RunLock(folder)
    if not lock.take():
        return True
    lock.release()
    return False


class RunLock:
    """One process a run folder; the operating system lets go of it when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        self._file: Any = None

    def take(self) -> bool:
        """Whether the folder is ours now. Where files cannot be locked (Windows, some network drives): yes."""
        try:
            import fcntl
        except ImportError:
            return True
        if self._path.is_fifo():  # in a folder from elsewhere: opening it would wait for ever
            return True
        self._file = self._path.open("a")
        # A loader's worker would hold the lock, too, for the seconds that it outlives a run that was killed or failed.
        os.register_at_fork(after_in_child=self._file.close)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            return False
        except OSError:
            pass
        return True

    def release(self) -> None:
        """Let go."""
        if self._file is not None:
            self._file.close()


def new_folder(runs: Path, kind: str, name: str | None, *, resume: str | None = None) -> Path:
    """Create the folder of a new run.

    Args:
        runs: folder of all runs.
        kind: `<experiment>` or `<data>-<model>`.
        name: the run's own name; without one, a time stamp with a random tail.
        resume: the user's word: `auto` takes an existing folder that holds no checkpoint, of a run that was killed
            before its first save.

    Raises:
        UserError: there is such a run already, or the folder cannot be made.
    """
    own = identity(name)
    folder = as_on_disk(runs / kind / (own or f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(3)}"))
    if folder.is_dir() and own and not (resume == "auto" and not has_checkpoint(folder)):
        what = {
            None: "go on with it by resume=auto, or choose another name",
            "auto": "another start of it has saved its first checkpoint meanwhile; run the same line again",
        }.get(resume, f"resume={resume} starts a new run, which needs another name")
        raise UserError(f"name={own}: the run {folder} exists; {what}")
    try:
        folder.mkdir(parents=True, exist_ok=bool(own))
    except OSError as error:
        raise UserError(f"paths.runs: cannot create {folder} ({error.strerror})") from error
    return folder


def all_runs(runs: Path) -> list[Path]:
    """Run folders, the one started last first."""
    found = [path.parent for path in runs.glob("*/*/summary.json")]
    return sorted(found, key=started, reverse=True)


def started(folder: Path) -> float:
    """When a run was started, in seconds since the epoch; 0 where it does not say."""
    when = read_summary(folder).get("started")
    return float(when) if isinstance(when, int | float) and math.isfinite(when) else 0.0
