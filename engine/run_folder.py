"""A run's folder: what was asked for, what happened, and with which code, packages and hardware."""

import io
import json
import logging
import math
import os
import platform
import shlex
import subprocess
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callbacks.signals import StopSignals
from engine.process_group import Members
from settings.errors import StorageError, UserError, open_files_error, storage_error, worker_error
from settings.paths import ROOT
from settings.runs import RunLock, read_summary
from settings.whole_file import TableWriter, write_text

if TYPE_CHECKING:
    from lightning.pytorch.loggers.logger import Logger

log = logging.getLogger(__name__)

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "timm", "hydra-core", "numpy")


class RunRecord:
    """The open run folder; every change of `summary` is on disk at once, whole.

    Args:
        folder: the run folder, which exists.
        first: plain values known at the start (seed, command, monitor, ...).
        members: this process among those of the run; the first one writes.
    """

    def __init__(self, folder: Path, first: Mapping[str, Any], members: Members | None = None) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.members = members or Members()
        self.writes = self.members.rank == 0
        self.signals = StopSignals(speaks=self.writes)
        self.loggers: list[Logger] = []
        before = read_summary(folder)
        self.summary: dict[str, Any] = {
            "schema": 1,
            "status": "running",
            "metrics": {},
            "started": before.get("started", time.time()),
            "resumes": before.get("resumes", -1) + 1 if before.get("resumes") is not None else 0,
            "reason": None,
            "exit_code": None,
            **first,
            "parent": first.get("parent") or before.get("parent"),
            "hardware": hardware(),
            "git": git_state(),
            "packages": {name: _version(name) for name in PACKAGES},
            "tracking": before.get("tracking", {"id": None, "url": None}),
        }

    def write(self, name: str, text: str) -> None:
        """Write a text file of the run folder, whole or not at all."""
        if self.writes:
            write_text(self.folder / name, text)

    def say(self, line: str) -> None:
        """Print a line, and keep it in train.log."""
        if not self.writes:
            return
        print(line, flush=True)
        # Past the root logger's level, which is its owner's.
        log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, line, (), None))

    def write_table(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a CSV file of the run folder."""
        if not self.writes:
            return
        text = io.StringIO(newline="")
        writer = TableWriter(text)
        writer.writerow(columns)
        writer.writerows(rows)
        self.write(name, text.getvalue())

    def update(self, **values: Any) -> None:
        """Change the summary."""
        self.summary.update(values)
        self.write("summary.json", json.dumps(_plain(self.summary), indent=2, ensure_ascii=False) + "\n")

    def failed(self, error: BaseException) -> None:
        """Say in log and summary how the run ended."""
        if not self.writes:
            return
        code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 1)
        logging.getLogger().error("%s", "".join(traceback.format_exception(error)))
        status = "interrupted" if code > 128 else "failed"
        with suppress(OSError):  # the disk may be what failed
            self.update(status=status, reason=str(error) or type(error).__name__, exit_code=code)


@contextmanager
def recording(folder: Path, first: Mapping[str, Any], members: Members | None = None) -> Iterator[RunRecord]:
    """Hold a run folder: lock it, log to it, catch stop signals, and say on every way out how the run ended.

    Args:
        folder: the run folder, which exists.
        first: plain values known at the start (seed, command, monitor, ...).
        members: this process among those of the run; the first one holds the folder and writes.

    Raises:
        UserError: another run is writing this folder.
    """
    record = RunRecord(folder, first, members)
    with held(folder) if record.writes else nullcontext():
        record.members.last_words = record.failed
        with record.signals:
            try:
                record.update()
                yield record
                record.update(status="finished", exit_code=0)
            except BaseException as error:
                record.signals.ending = True
                cause = record.members.cause(
                    storage_error(error, folder) or open_files_error(error) or worker_error(error) or error
                )
                record.failed(cause)
                if cause is error:
                    raise
                raise cause from error


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a run folder and log to it; its path is the last thing said.

    Raises:
        UserError: another process is writing this folder.
    """
    lock = RunLock(folder)
    try:
        if not lock.take():
            raise UserError(f"{folder} is in use by another process; wait for it, or choose another name")
        handler = logging.FileHandler(folder / "train.log", encoding="utf-8")
    except OSError as error:
        lock.release()
        raise StorageError(f"{error.filename or folder}: cannot be written: {error.strerror}") from error
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk: the run says so itself
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        with suppress(OSError):  # a full disk: the run says so itself
            handler.close()
        lock.release()
        print(f"run: {folder}", flush=True)


def results_folder(folder: Path) -> RunRecord:
    """A folder for the results of a finished run, made where it is missing.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={folder}: cannot be written ({error.strerror or error})") from error
    return RunRecord(folder, {})


def command_line(overrides: list[str]) -> str:
    """The command that repeats the run, quoted for a shell."""
    return shlex.join(["python", "train.py", *overrides])


def hardware() -> dict[str, Any]:
    """What the run has under it."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def git_state() -> dict[str, Any] | None:
    """Commit and whether the tree differs from it; `None` outside a git checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return None
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    """Plain JSON: a number that is not finite has no place in it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
