"""Where runs live, which one a `resume=` means, and whether it is free; standard library only."""

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from settings.errors import UserError
from settings.paths import ROOT

"""The project's root: relative `paths.*` start here, whatever the working folder."""


def rooted(path: str | Path) -> Path:
    """A path of the configuration as an absolute one: `~` is the home folder, relative means the project's root."""
    return ROOT / Path(path).expanduser()


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
        return json.loads((folder / "summary.json").read_text(encoding="utf-8"))
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


def new_folder(runs: Path, kind: str, name: str | None, *, reuse: bool) -> Path:
    """Create the folder of a new run.

    Args:
        runs: folder of all runs.
        kind: `<experiment>` or `<data>-<model>`.
        name: the run's own name; without one, a time stamp with a random tail.
        reuse: take an existing folder that holds no checkpoint (`resume=auto` after a kill before the first save).
    """
    own = identity(name)
    folder = runs / kind / (own or f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(3)}")
    if folder.is_dir() and own and not (reuse and not has_checkpoint(folder)):
        raise UserError(f"name={own}: the run {folder} exists; go on with it by resume=auto, or choose another name")
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
    return float(when) if isinstance(when, int | float) else 0.0


def resumed_folder(*, resume: str, name: str | None, runs: Path, kind: str) -> Path | None:
    """The folder of the run that `resume` means; `None` where `resume=auto` has nothing to go on from.

    Args:
        resume: `auto`, `last` (or `true`), `best`, a run folder, a name under the runs folder, or a checkpoint file.
        name: the run's own name, for `auto`.
        runs: folder of all runs.
        kind: `<experiment>` or `<data>-<model>`, for `auto`.

    Raises:
        UserError: there is no such run, or it has no checkpoint.
    """
    if resume == "auto":
        own = identity(name)
        if own is None:
            raise UserError("resume=auto needs to know which run it is: add name=ID")
        folder = runs / kind / own
        return folder if has_checkpoint(folder) else None
    if resume.lower() in ("last", "true", "best"):
        return _newest(runs, best=resume == "best")
    return _named(resume, runs)


def _named(resume: str, runs: Path) -> Path:
    """The run of a folder, name or checkpoint, which has what it takes to go on."""
    from settings.run_names import find_run, run_of

    path = find_run(resume, runs, key="resume")
    folder = run_of(path)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"resume={resume}: no such checkpoint of a run (its folder holds config.yaml)")
    if not has_checkpoint(folder):
        raise UserError(f"resume={resume}: the run {folder} has no checkpoint yet; start it again")
    return folder


def _newest(runs: Path, *, best: bool) -> Path:
    """The newest unfinished run, or the newest with a best checkpoint."""
    for folder in all_runs(runs):
        if best and (folder / "checkpoints" / "best.ckpt").is_file():
            return folder
        unfinished = read_summary(folder).get("status") != "finished"
        if not best and unfinished and has_checkpoint(folder) and not in_use(folder):
            return folder
    what = "run with a best checkpoint" if best else "unfinished run with a checkpoint"
    raise UserError(f"resume={'best' if best else 'last'}: there is no {what} in {runs}")
