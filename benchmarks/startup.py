"""CPU time from a process's start to its help page and to its first training step: `python -m benchmarks.startup`.

Where 4.1 CPU-seconds to the first step of `python train.py` go, where `import lightning` alone takes 4.9, and 6.3 with
the tear-down of its modules at the end:

| what | s | |
|---|---|---|
| Python, train.py | 0.04 | nothing but the standard library until the command line is read; --help ends here |
| the configuration | 0.39 | pydantic 0.1 and hydra with omegaconf and antlr 0.15 to import, then all YAML files |
| torch | 1.5 | |
| lightning | 2.0 | nearly all of it torchmetrics, which imports torchvision, torch._dynamo, scipy, matplotlib |
| data, net, trainer, step | 0.12 | |

Removed: scikit-learn for the digits (0.3: its file is read without it), timm, albumentations and wandb where nobody
asks for them, and the garbage collector's looks through a million objects of modules (0.5 to 1.1). What is left of
torch and lightning is theirs: hiding a package from them would take it from whoever wants it later.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Row, compared, interleaved, main

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
IMPORT, NO_END = "import lightning", "import lightning, os; os._exit(0)"
FIRST_STEP = """
import os, runpy, sys
names = runpy.run_path("train.py")["run"].__globals__  # nothing is imported that train.py would not import by itself
build_task = names["build_task"]
def stopping(*arguments):
    task = build_task(*arguments)
    step = task.training_step
    def only(*batch):
        step(*batch)
        os._exit(0)
    task.training_step = only
    return task
names["build_task"] = stopping
names["launch"](names["run"], ["paths.runs=" + sys.argv[1]])
sys.exit("no step was made")
"""


def run(*, rounds: int = ROUNDS) -> list[Row]:
    """Compare with `import lightning` alone, which every Lightning template pays.

    Args:
        rounds: that count.
    """
    theirs, strict = f'python -c "{IMPORT}"', "the same without its tear-down"
    with tempfile.TemporaryDirectory() as scratch:
        times = interleaved(
            {
                "help": lambda: child("train.py", "--help"),
                "first step": lambda: child("-c", FIRST_STEP, scratch),
                theirs: lambda: child("-c", IMPORT),
                strict: lambda: child("-c", NO_END),
            },
            rounds=rounds,
        )
    step = "process start to first training step, default data"
    return [
        compared("`train.py --help`", times, ours="help", theirs=theirs, goal=0.1, lower_is_better=True),
        compared(step, times, ours="first step", theirs=theirs, goal=1.08, lower_is_better=True),
        compared(step, times, ours="first step", theirs=strict, goal=1.08, lower_is_better=True),
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
