"""A stop signal at any moment: the newest complete step is saved within seconds, and going on from it is exact.

Here in one process, at moments that are made to last; `test_process_failures.py` has several processes.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callbacks.signals import Stopped
from datamodules.base import ImageDataModule
from datamodules.loading import TrainBatches
from models.tasks.classification import Classification
from tests.reliability.test_exact_resume import CASES, SMALL, STEPS, assert_same_end, last, summary
from train import train

ROOT = Path(__file__).resolve().parents[2]
WITHIN = 5.0
"""Seconds from a signal to the checkpoint."""


class Moment:
    """Something that has come to a moment that lasts for ever, until it is stopped.

    Args:
        signum: sent to this process soon after.
    """

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        self.signum = signum
        self.sent = 0.0

    def last(self) -> None:
        threading.Timer(0.2, self._send).start()
        time.sleep(60)
        raise AssertionError("nothing has stopped it")

    def _send(self) -> None:
        self.sent = time.monotonic()
        os.kill(os.getpid(), self.signum)


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Moment]]:
    """Make the n-th call of a method (from 1) come to a moment that lasts."""

    def arm(owner: type, name: str, call: int, signum: int = signal.SIGTERM) -> Moment:
        original, moment, calls = getattr(owner, name), Moment(signum), 0

        def method(self: Any, *arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                moment.last()
            return original(self, *arguments)

        monkeypatch.setattr(owner, name, method)
        return moment

    yield arm
    monkeypatch.undo()


@pytest.fixture
def late_batch(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Moment]:
    """Make the n-th training batch of the run (from 1) never come."""

    def arm(number: int) -> Moment:
        original, moment, drawn = TrainBatches.__iter__, Moment(), 0

        def batches(self: TrainBatches) -> Iterator[Any]:
            nonlocal drawn
            for batch in original(self):
                drawn += 1
                if drawn == number:
                    moment.last()
                yield batch

        monkeypatch.setattr(TrainBatches, "__iter__", batches)
        return moment

    return arm


def stop(overrides: list[str], moment: Moment) -> Stopped:
    with pytest.raises(Stopped) as stopped:
        train(overrides)
    assert time.monotonic() - moment.sent < WITHIN
    return stopped.value


def ends_the_same(runs: Path, overrides: list[str]) -> None:
    """Go on, train another run undisturbed, and compare all that they leave."""
    train([*overrides, "name=cut", "resume=auto"])
    train([*overrides, "name=whole"])
    assert_same_end(runs, "whole", "cut")
    whole, cut = (next(runs.glob(f"*/{name}/metrics.csv")).read_text() for name in ("whole", "cut"))
    assert whole == cut
    found = [{**summary(runs, name), "started": 0} for name in ("whole", "cut")]
    for key in ("metrics", "best_epoch", "epochs", "steps"):
        assert found[0][key] == found[1][key], key


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ([*CASES["ema"], "callbacks.learning_rate.every_n_steps=4"], 14),
        (CASES["accumulation"], 7),
        ([*CASES["ema"], "trainer.val_check_interval=3"], 6),
        slow(CASES["plateau"], 14),
        slow(CASES["one_cycle"], 14),
        slow(CASES["augmentation"], 14),
        slow(CASES["early_stopping"], 14),
        slow([*CASES["one_cycle"], "trainer.check_val_every_n_epoch=2"], 28),
        slow([*CASES["ema"], "callbacks.checkpoint.every_n_steps=2"], 14),
        slow([*CASES["plateau"], "trainer.max_steps=18", "trainer.max_epochs=3", "scheduler.warmup_epochs=0"], 14),
    ],
    ids=["ema", "accumulation", "within", "plateau", "one_cycle", "augmentation", "early", "second", "every", "steps"],
)
def test_in_a_long_validation(overrides: list[str], steps: int, tmp_path: Path, lasting: Any) -> None:
    overrides = [*SMALL, *overrides, f"paths.runs={tmp_path}"]
    moment = lasting(Classification, "validation_step", 8)  # the third batch of the second pass
    assert stop([*overrides, "name=cut"], moment).exit_code == 143
    assert summary(tmp_path, "cut")["status"] == "interrupted"
    assert last(tmp_path, "cut")["global_step"] == steps
    ends_the_same(tmp_path, overrides)


@pytest.mark.parametrize("batch", [STEPS + 4, slow(2 * STEPS + 1)], ids=["in-mid-epoch", "first-of-an-epoch"])
def test_while_a_batch_is_late(batch: int, tmp_path: Path, late_batch: Any) -> None:
    overrides = [*SMALL, *CASES["ema"], f"paths.runs={tmp_path}"]
    assert stop([*overrides, "name=cut"], late_batch(batch)).exit_code == 143
    assert last(tmp_path, "cut")["global_step"] == batch - 1
    ends_the_same(tmp_path, overrides)


def test_while_the_last_batch_of_an_epoch_is_on_its_way(tmp_path: Path, lasting: Any) -> None:
    overrides = [*SMALL, *CASES["plateau"], f"paths.runs={tmp_path}"]
    assert stop([*overrides, "name=cut"], lasting(ImageDataModule, "on_after_batch_transfer", STEPS)).exit_code == 143
    assert last(tmp_path, "cut")["global_step"] == STEPS - 1
    ends_the_same(tmp_path, overrides)


def test_before_the_first_step_there_is_nothing_to_save_or_to_test(tmp_path: Path, lasting: Any) -> None:
    overrides = [*SMALL, "trainer.num_sanity_val_steps=2", "trainer.max_epochs=1", f"paths.runs={tmp_path}", "name=cut"]
    moment = lasting(Classification, "validation_step", 2, signal.SIGINT)
    assert stop([*overrides, "test=true"], moment).exit_code == 130
    assert not list(tmp_path.glob("*/*/checkpoints/*")) and summary(tmp_path, "cut")["status"] == "interrupted"
    train([*overrides, "resume=auto"])
    assert summary(tmp_path, "cut")["status"] == "finished"


def test_ctrl_c_in_validation_still_tests(tmp_path: Path, lasting: Any) -> None:
    moment = lasting(Classification, "validation_step", 2, signal.SIGINT)
    assert stop([*SMALL, "test=true", f"paths.runs={tmp_path}", "name=cut"], moment).exit_code == 130
    assert last(tmp_path, "cut")["global_step"] == STEPS
    assert 0 < summary(tmp_path, "cut")["metrics"]["test/accuracy"] <= 1


def test_in_a_long_test_the_training_is_saved(tmp_path: Path, lasting: Any) -> None:
    moment = lasting(Classification, "test_step", 2)
    overrides = [*SMALL, "test=true", "trainer.max_epochs=1", f"paths.runs={tmp_path}", "name=cut"]
    assert stop(overrides, moment).exit_code == 143
    assert last(tmp_path, "cut")["global_step"] == STEPS


def started(*overrides: str, **variables: str) -> subprocess.Popen[str]:
    """`python train.py`, from the moment on in which it knows of signals."""
    process = subprocess.Popen(
        [sys.executable, "train.py", *overrides],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not catches(process.pid, signal.SIGTERM):
        time.sleep(0.002)
    return process


def catches(pid: int, signum: int) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("SigCgt") and int(line.split()[1], 16) >> (signum - 1) & 1 for line in lines)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="what a process catches is read from /proc")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)])
def test_from_its_first_moment_on_a_program_ends_in_one_line(signum: int, code: int, tmp_path: Path) -> None:
    process = started(*SMALL, f"paths.runs={tmp_path}")
    process.send_signal(signum)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (code, "", f"stopped by {signal.Signals(signum).name}\n")


@pytest.mark.slow
def test_at_any_moment_of_the_start_a_program_ends_in_one_line(tmp_path: Path) -> None:
    draws = random.Random(0)
    for number in range(12):
        process = started(*SMALL, "trainer.max_epochs=999", f"paths.runs={tmp_path / str(number)}")
        time.sleep(number / 2 + draws.uniform(0, 0.5))
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
        said = [line for line in errors.splitlines() if line and not line.startswith("stopping after this step")]
        assert (process.returncode, said) == (143, ["stopped by SIGTERM"]), (number, output, errors)
