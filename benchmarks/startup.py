"""CPU time from a process's start to its help page and to its first training step: `python -m benchmarks.startup`."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Row, compared, interleaved, main

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
FIRST_STEP = """
import os, runpy, sys
from models.tasks import classification
step = classification.Classification.training_step
def last(self, batch, index):
    step(self, batch, index)
    os._exit(0)
classification.Classification.training_step = last
sys.argv = ["train.py", "paths.runs=" + sys.argv[1]]
runpy.run_path("train.py", run_name="__main__")
"""


def run() -> list[Row]:
    """Compare with `import lightning` alone, which every Lightning template pays."""
    with tempfile.TemporaryDirectory() as scratch:
        times = interleaved(
            {
                "help": lambda: child("train.py", "--help"),
                "first step": lambda: child("-c", FIRST_STEP, scratch),
                'python -c "import lightning"': lambda: child("-c", "import lightning"),
            },
            rounds=ROUNDS,
        )
    theirs = 'python -c "import lightning"'
    return [
        compared("`train.py --help`", times, ours="help", theirs=theirs, goal=0.1, lower_is_better=True),
        compared(
            "process start to first training step, default data",
            *(times,),
            ours="first step",
            theirs=theirs,
            goal=1.08,
            lower_is_better=True,
        ),
    ]


def child(*arguments: str) -> float:
    """CPU seconds of `python ARGUMENTS`, its own children included."""
    before = _children()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main("startup", run)
