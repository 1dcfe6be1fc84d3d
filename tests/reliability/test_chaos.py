"""Twenty runs, each hit by several signals at drawn moments, end with the bits of runs that nothing happened to.

After each stop every checkpoint can be loaded, and in the trajectory that survives each epoch has each image once.
"""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.checkpoint import is_whole
from tests.reliability.test_kill_and_resume import differences, final_state

ROOT = Path(__file__).resolve().parents[2]
IMAGES, EPOCHS = 240, 8
COMMON = [
    *("data=digits", "data.forbid=[]", "data.per_class=24", "data.batch_size=30", "augment=light", "test=false"),
    *("model=cnn", "model.widths=[6,6]", f"trainer.max_epochs={EPOCHS}"),
    *("callbacks=none", "callbacks.learning_rate.every_n_steps=5"),
    *("callbacks.checkpoint.every_n_steps=3", "resume=auto"),
]  # 8 steps an epoch, and no image left over
SETUPS = {
    "one_cycle": ["optimizer=adamw", "scheduler=one_cycle", "augment=strong"],
    "ema": ["optimizer=sgd", "optimizer.lr=0.05", "scheduler=cosine", "callbacks.ema.decay=0.8"],
    "plateau": ["optimizer=adam", "scheduler=plateau", "scheduler.patience=0", "scheduler.warmup_epochs=0.5"],
    "windows": [
        *("optimizer=sgd", "scheduler=step", "scheduler.every_epochs=3", "trainer.accumulate_grad_batches=2"),
        *("callbacks.ema.decay=0.8", "trainer.val_check_interval=0.5"),
    ],
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
SAVING = {"half written": 5, "written": 5, "previous kept": 4, "renamed": 5}
"""Moment -> how often it may come before the signal does."""
ELSEWHERE = {"fetch": 14, "step": 14, "optimiser": 12, "log": 5, "logged": 5}
RUNS = 20

Trajectory = dict[tuple[int, int], list[int]]
"""(epoch, batch) -> images."""


class Starter:
    """Starts runs by `chaos.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.chaos"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __call__(self, **job: Any) -> int:
        """Do a run, and return how it ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._answer())

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Life:
    """A run over all its starts."""

    folder: Path
    overrides: list[str]
    trajectory: Trajectory = field(default_factory=dict)
    stops: list[str] = field(default_factory=list)

    def start(self, starter: Starter, **stop: Any) -> int:
        """Start it or go on; take up what it has seen from the step on that its checkpoint holds."""
        record = self.folder / f"seen-{len(list(self.folder.glob('seen-*')))}"
        done = self.batches_done()
        code = starter(
            overrides=[*COMMON, *self.overrides, f"paths.runs={self.folder}", "name=run"],
            record=str(record),
            log=str(self.folder / "log.txt"),
            **stop,
        )
        batches = 16 if "trainer.accumulate_grad_batches=2" in self.overrides else 8
        survived = {at: seen for at, seen in self.trajectory.items() if at[0] * batches + at[1] < done}
        assert len(survived) == done, "what the checkpoint has seen is not what was recorded"
        for epoch, batch, seen in map(json.loads, record.read_text().splitlines() if record.is_file() else ()):
            assert (epoch, batch) not in survived, "a batch that is in the weights came again"
            survived[epoch, batch] = seen
        self.trajectory = survived
        return code

    def checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("*/run/checkpoints/*.ckpt"))

    def batches_done(self) -> int:
        """How many batches are in the weights of the newest checkpoint."""
        for path in self.checkpoints():
            if path.name == "last.ckpt":
                loops = torch.load(path, weights_only=True)["loops"]["fit_loop"]
                return loops["epoch_loop.batch_progress"]["total"]["processed"]
        return 0

    def run_folder(self) -> Path:
        (found,) = self.folder.glob("*/run")
        return found


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    one = Starter()
    yield one
    one.end()


@pytest.fixture(scope="module")
def undisturbed(starter: Starter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Life]:
    lives = {}
    for name, overrides in SETUPS.items():
        lives[name] = Life(tmp_path_factory.mktemp(name), overrides)
        assert lives[name].start(starter) == 0, (lives[name].folder / "log.txt").read_text()
    return lives


def drawn_stops(number: int) -> list[dict[str, Any]]:
    """Three stops of a run: one in a save, one in a validation, one anywhere, in any order."""
    draws = random.Random(number)
    saving = draws.choice(list(SAVING))
    swaps = number % len(SETUPS) in (1, 3) and draws.random() < 0.4  # those that average
    elsewhere = draws.choice([*ELSEWHERE, "any time"])
    stops: list[dict[str, Any]] = [
        {"event": saving, "count": draws.randint(1, SAVING[saving])},
        {"event": "swap" if swaps else "validation", "count": draws.randint(1, 4 if swaps else 12)},
        {"after": draws.uniform(0, 0.5)}
        if elsewhere == "any time"
        else {"event": elsewhere, "count": draws.randint(1, ELSEWHERE[elsewhere])},
    ]
    draws.shuffle(stops)
    return [{**stop, "signal": draws.choice(SIGNALS)} for stop in stops]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(RUNS))
def test_a_run_that_is_hit_several_times_ends_like_one_that_is_not(
    number: int, starter: Starter, undisturbed: dict[str, Life], tmp_path: Path
) -> None:
    setup = list(SETUPS)[number % len(SETUPS)]
    life = Life(tmp_path, SETUPS[setup])
    stopped, late = 0, False
    for stop in drawn_stops(number):
        code = life.start(starter, **stop)
        assert code in (0, CODES[stop["signal"]]), (stop, (tmp_path / "log.txt").read_text())
        for path in life.checkpoints():
            assert is_whole(path), (stop, path)
            torch.load(path, weights_only=True)
        if code == 0:
            late = "after" in stop  # a run takes less than a second where nothing else does
            break
        stopped += 1
    else:
        assert life.start(starter) == 0, (tmp_path / "log.txt").read_text()
    assert stopped >= 2 or late, "the run was over before it could be hit"
    whole = undisturbed[setup]
    assert differences(final_state(whole.run_folder()), final_state(life.run_folder())) == []
    assert (whole.run_folder() / "metrics.csv").read_text() == (life.run_folder() / "metrics.csv").read_text()
    assert life.trajectory == whole.trajectory
    for epoch in range(EPOCHS):
        seen = [image for (of, _), images in life.trajectory.items() if of == epoch for image in images]
        assert sorted(seen) == list(range(IMAGES))
    assert not list(life.run_folder().glob("checkpoints/*.tmp")), "what a killed save left is swept away"
