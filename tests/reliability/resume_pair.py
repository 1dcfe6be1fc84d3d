"""Runs in two processes, each whole, then stopped and resumed: `torchrun --nproc_per_node=2 -m THIS FOLDER`.

The stop comes from a signal to process 1; `test_two_processes_resume.py` compares the run folders.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from callbacks.signals import Stopped
from engine.launcher import together
from engine.process_group import Members
from models.tasks.classification import Classification
from settings.reading.compose import compose
from tests.reliability.test_exact_resume import CASES, SMALL, STEPS
from train import fit_and_test

MID_EPOCH, LAST_EPOCH = STEPS + 3, 4 * STEPS
CELLS = {
    "one_cycle": MID_EPOCH,
    "accumulation": 2 * MID_EPOCH - 1,
    "plateau": MID_EPOCH,
    "early_stopping": MID_EPOCH,
    "ema": LAST_EPOCH,
}
"""Case -> the batch in which the signal comes; the last one leaves nothing but the test."""


def overrides(case: str, name: str, runs: Path) -> list[str]:
    """The command line of one run."""
    words = [*SMALL, *CASES[case], "test=true", "trainer.devices=2", "trainer.accelerator=cpu", "resume=auto"]
    return [*words, f"name={case}-{name}", f"paths.runs={runs}"]


def work(config: Any, members: Members) -> None:
    """All cells, one after the other."""
    original = Classification.training_step
    seen = stop_at = 0

    def step(task: Any, *arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == stop_at and members.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(task, *arguments)

    Classification.training_step = step  # type: ignore[method-assign]
    for case, batch in CELLS.items():
        for name, stop in (("whole", 0), ("cut", batch), ("cut", 0)):
            seen, stop_at = 0, stop
            with suppress(Stopped):
                fit_and_test(compose(overrides(case, name, config.paths.runs)), members)


if __name__ == "__main__":
    together(compose(overrides("one_cycle", "whole", Path(sys.argv[1]))), work)
    torch.distributed.destroy_process_group()
