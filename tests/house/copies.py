"""A copy of the project, and the usual things that people do to it, each with the files that it touches.

The new files lie in `tests/house/fork`, each where it belongs. This folder is not in the copies.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.house.test_strip import LISTED, PAGE

ROOT = Path(__file__).parents[2]
NEW = Path(__file__).with_name("fork")
LEFT_OUT = ("__pycache__", "house", "results", ".*", "*.egg-info", "runs", "data", "outputs", "wandb", "venv", "build")

TRAIN = (
    "import json, sys; from train import train; [(train(words), print(chr(12))) for words in json.loads(sys.argv[1])]"
)

MODE = '''
def alternating(names: Sequence[str], epoch: int, *, period: int = 1) -> Shares:
    """Head and the rest train in turns of `period` epochs.

    Idea: neither moves while the other learns. When: never tried. Cost: that of `full`. Source: this test.
    """
    head = epoch // period % 2 == 0
    return {name: 1.0 for name in names if (name == "head") == head}
'''


class Copy:
    """A copy of the project that knows which files were touched since it was last asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT, root, ignore=_left_out, dirs_exist_ok=True)
        self._known = self._contents()

    def _contents(self) -> dict[str, bytes]:
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}

    def add(self, path: str, text: str | None = None) -> None:
        """Write a new file: the one in `tests/house/fork`, or a text."""
        assert not (self.root / path).exists(), path
        text = (NEW / path).read_text(encoding="utf-8") if text is None else text
        (self.root / path).write_text(text, encoding="utf-8")

    def add_row(self, path: str, table: str, row: str) -> None:
        """Add one line at the top of a dict literal."""
        text = (self.root / path).read_text(encoding="utf-8")
        start = text.index("{\n", text.index(f"\n{table}")) + 2
        (self.root / path).write_text(f"{text[:start]}    {row}\n{text[start:]}", encoding="utf-8")

    def add_function(self, path: str, before: str, function: str) -> None:
        """Write a function in front of a line."""
        text = (self.root / path).read_text(encoding="utf-8")
        head, line, tail = text.partition(f"\n{before}")
        (self.root / path).write_text(f"{head}{function}\n{line}{tail}", encoding="utf-8")

    def replace(self, paths: Iterable[Path], old: str, new: str) -> None:
        """Write one word for another in files, as `sed -i s/old/new/g` does."""
        for path in paths:
            path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))

    def touched(self) -> dict[str, int]:
        """Files that are new (0) or changed (lines more than before)."""
        before, self._known = self._known, self._contents()
        return {
            path: text.count(b"\n") - before[path].count(b"\n") if path in before else 0
            for path, text in self._known.items()
            if before.get(path) != text
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], cwd=self.root, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    def trained(self, *lines: Sequence[str]) -> list[tuple[Path, str]]:
        """Folders and outputs of runs that must succeed, one after another in one process."""
        result = self.run("-c", TRAIN, json.dumps([[*words, "callbacks.report=null"] for words in lines]))
        assert result.returncode == 0, result.stderr
        outputs = result.stdout.split("\f\n")[:-1]
        return [(Path(text.splitlines()[-1].removeprefix("run: ")), text) for text in outputs]

    def assert_green(self) -> None:
        """The whole default suite."""
        result = self.run("-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider")
        assert result.returncode == 0, result.stdout[-20000:]


def _left_out(folder: str, contents: list[str]) -> set[str]:
    """Neither this folder nor what runs and tools leave behind; `runs`, `data` and the like at the root alone."""
    found = shutil.ignore_patterns(*LEFT_OUT[:5])(folder, contents)
    return found | (set(LEFT_OUT[5:]) & set(contents) if Path(folder) == ROOT else set())


def add_data_set(copy: Copy) -> None:
    """One file, and one YAML that is its neighbour's with another class and one argument."""
    copy.add("datamodules/parity.py")
    digits = (ROOT / "configs/data/digits.yaml").read_text(encoding="utf-8")
    parity = digits.replace("datamodules.digits.Digits", "datamodules.parity.Parity")
    copy.add("configs/data/parity.yaml", parity.replace("name: digits", "name: parity") + "largest: 9  # digit\n")
    assert copy.touched() == {"datamodules/parity.py": 0, "configs/data/parity.yaml": 0}


def add_architecture(copy: Copy) -> None:
    """One file, one line."""
    copy.add("models/nets/spot.py")
    copy.add_row("models/nets/__init__.py", "NETS", '"spot": ("spot:Spot", {}),')
    assert copy.touched() == {"models/nets/spot.py": 0, "models/nets/__init__.py": 1}


def add_transfer_mode(copy: Copy) -> None:
    """One function and its row in one file, one YAML."""
    copy.add_function("models/transfer.py", "MODES", MODE)
    copy.add_row("models/transfer.py", "MODES", '"alternating": alternating,')
    copy.add("configs/transfer/alternating.yaml")
    lines = MODE.count("\n") + 2
    assert copy.touched() == {"models/transfer.py": lines, "configs/transfer/alternating.yaml": 0}


def add_augmentation(copy: Copy) -> None:
    """One file, one line."""
    copy.add("datamodules/batch/negative.py")
    copy.add_row("datamodules/batch/__init__.py", "OPERATIONS", '"negative": "negative:Negative",')
    assert copy.touched() == {"datamodules/batch/negative.py": 0, "datamodules/batch/__init__.py": 1}


def add_experiment(copy: Copy) -> None:
    """One YAML with its claim."""
    copy.add("configs/experiment/parity_spot.yaml")
    assert copy.touched() == {"configs/experiment/parity_spot.yaml": 0}


def add_loss(copy: Copy) -> None:
    """One file."""
    copy.add("models/losses/mean_square.py")
    assert copy.touched() == {"models/losses/mean_square.py": 0}


def add_metric(copy: Copy) -> None:
    """One file."""
    copy.add("models/metrics/surprise.py")
    assert copy.touched() == {"models/metrics/surprise.py": 0}


def add_optimizer(copy: Copy) -> None:
    """One file."""
    copy.add("models/optimizers/sign_descent.py")
    assert copy.touched() == {"models/optimizers/sign_descent.py": 0}


def add_schedule(copy: Copy) -> None:
    """One file."""
    copy.add("models/schedules/polynomial.py")
    assert copy.touched() == {"models/schedules/polynomial.py": 0}


def add_callback(copy: Copy) -> None:
    """One file."""
    copy.add("callbacks/longest_step.py")
    assert copy.touched() == {"callbacks/longest_step.py": 0}


def add_logger(copy: Copy) -> None:
    """One file."""
    copy.add("callbacks/loggers/lines_logger.py")
    assert copy.touched() == {"callbacks/loggers/lines_logger.py": 0}


def add_task(copy: Copy) -> None:
    """One file."""
    copy.add("models/tasks/regression.py")
    assert copy.touched() == {"models/tasks/regression.py": 0}


def add_own_head(copy: Copy) -> None:
    """A net of timm's under another head: one file, one line."""
    copy.add("models/lite0_cosine.py")
    copy.add_row("models/nets/__init__.py", "NETS", '"lite0_cosine": ("models.lite0_cosine:Lite0Cosine", {}),')
    assert copy.touched() == {"models/lite0_cosine.py": 0, "models/nets/__init__.py": 1}


ADDITIONS = (
    *(add_data_set, add_architecture, add_transfer_mode, add_augmentation, add_experiment, add_own_head),
    *(add_loss, add_metric, add_optimizer, add_schedule, add_callback, add_logger, add_task),
)


def rename(copy: Copy) -> None:
    """As docs/fork.md says it: two commands."""
    text = [path for path in copy.root.rglob("*") if path.is_file() and b"\0" not in path.read_bytes()]
    copy.replace((path for path in text if path.name not in ("LICENSE", "CHANGELOG.md")), "Lightbox", "Darkroom")
    copy.replace((copy.root / name for name in ("pyproject.toml", "configs/logger/wandb.yaml")), "lightbox", "darkroom")


def without_islands(root: Path) -> Copy:
    """A copy of the project after all that docs/strip.md says; `test_strip.py` holds its lists against the imports."""
    copy = Copy(root)
    shared = re.findall(r"`([^`]+)`", PAGE.partition("## Shared by several")[2])
    for word in {*shared, *(word for words in LISTED.values() for word in words)}:
        path = copy.root / word
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return copy
