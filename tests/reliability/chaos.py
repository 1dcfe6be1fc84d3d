"""Starts runs for `test_chaos.py`, each forked from this process, which has imported what a run imports.

A line of JSON on standard input is a run: its overrides, and perhaps a signal with the moment at which it comes. The
answer is its exit code, as `subprocess` has it. In the child `train.py` runs as it does from the command line; it also
writes which images each batch of training had.
"""

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import callbacks.checkpoint
from callbacks.ema import RunningAverage
from callbacks.loggers.csv_logger import CsvLogger
from datamodules.loading import TrainBatches
from models.optim import Schedule
from models.tasks.classification import Classification
from settings import whole_file
from settings.commands.launch import launch
from settings.reading.compose import compose
from settings.stop import leave_at_a_signal
from train import run

EVENTS = (
    *("fetch", "step", "optimiser", "validation", "swap", "log", "logged"),
    *("half written", "written", "previous kept", "renamed"),
)
"""Moments of a run; the last four are those of a save."""


class Trap:
    """Sends this process a signal when an event comes for the n-th time.

    Args:
        signum: the signal.
        event: one of `EVENTS`.
        count: of its comings, from 1.
    """

    def __init__(self, signum: int, event: str, count: int) -> None:
        assert event in EVENTS, event
        self.signum, self.event, self.count = signum, event, count

    def __call__(self, event: str) -> None:
        if event == self.event:
            self.count -= 1
            if self.count == 0:
                os.kill(os.getpid(), self.signum)


def watch(record: Path, trap: Callable[[str], None]) -> None:
    """Have the run say what it does: to the record, and to the trap."""
    seen: list[int] = []
    handle = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    iterate, training_step = TrainBatches.__iter__, Classification.training_step

    def batches(self: TrainBatches) -> Iterator[Any]:
        for indices in iterate(self):
            trap("fetch")
            seen[:] = indices.tolist()
            yield indices

    def step(self: Any, batch: Any, batch_idx: int) -> Any:
        # A single write of a line is there as a whole once the call returns, whatever happens to the process.
        os.write(handle, (json.dumps([self.current_epoch, batch_idx, seen]) + "\n").encode())
        trap("step")
        return training_step(self, batch, batch_idx)

    def save(checkpoint: Any, file: Any) -> None:
        buffer = io.BytesIO()
        torch_save(checkpoint, buffer)
        half = buffer.tell() // 2
        file.write(buffer.getvalue()[:half])
        file.flush()
        trap("half written")
        file.write(buffer.getvalue()[half:])

    def around(owner: Any, name: str, before: str | None = None, after: str | None = None) -> None:
        original = getattr(owner, name)

        def method(*arguments: Any, **more: Any) -> Any:
            if before:
                trap(before)
            found = original(*arguments, **more)
            if after:
                trap(after)
            return found

        setattr(owner, name, method)

    torch_save = torch.save
    torch.save = save
    TrainBatches.__iter__ = batches
    Classification.training_step = step
    around(Classification, "validation_step", before="validation")
    around(Schedule, "step", before="optimiser")
    around(RunningAverage, "_swap_models", before="swap")
    around(CsvLogger, "log_metrics", before="log", after="logged")
    around(callbacks.checkpoint, "_keep", after="previous kept")
    sync = whole_file._sync

    def synced(path: Path, flags: int) -> None:
        trap("renamed" if path.is_dir() else "written")
        sync(path, flags)

    whole_file._sync = synced


def child(job: dict[str, Any]) -> int:
    """What the forked process does: one run, its words in a file."""
    log = os.open(job["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(0)
    leave_at_a_signal()
    sends = "event" in job
    watch(Path(job["record"]), Trap(job["signal"], job["event"], job["count"]) if sends else lambda event: None)
    return launch(run, job["overrides"])


def outcome(pid: int, job: dict[str, Any]) -> int:
    """Wait for the child, and send it the signal that comes after some time; its exit code."""
    began, sent = time.monotonic(), "after" not in job
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if not sent and time.monotonic() - began > job["after"]:
            os.kill(pid, job["signal"])
            sent = True
        if time.monotonic() - began > 240:
            os.kill(pid, signal.SIGKILL)
            raise TimeoutError(job)
        time.sleep(0.005)


if __name__ == "__main__":
    compose(["data=digits", "model=cnn"])
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = child(job)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(outcome(pid, job), flush=True)
