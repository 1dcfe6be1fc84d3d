"""What people do to a fork, each in one or two places, done in a copy of the project.

New data set, new architecture, new transfer mode, new augmentation, new experiment; then one run that uses all
five, and the tests that go over all that is registered.
"""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("configs", "settings", "models", "datamodules", "callbacks", "engine", "reports", "tests")
PARTS = ("train.py", "pyproject.toml", *FOLDERS)

DATA_SET = '''
"""Which of scikit-learn's digits are odd."""

from pathlib import Path

import torch

from datamodules.base import ImageDataModule
from datamodules.sources.arrays import ArraySource


class Parity(ImageDataModule):
    """Digits up to `largest`, every fifth for the test."""

    class_names = ("even", "odd")
    channels = 1
    image_size = 8
    mean = (0.3,)
    std = (0.38,)

    def __init__(
        self, *, root: Path | None = None, data_dir: Path = Path("data"), largest: int = 9
    ) -> None:
        super().__init__(root=root, data_dir=data_dir)
        self.largest = largest

    def sources(self) -> dict[str, ArraySource]:
        """Read them from scikit-learn's package."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (torch.from_numpy(digits.images) * 15.9375).round().to(torch.uint8)[:, None]
        targets = torch.from_numpy(digits.target).to(torch.int64)
        source = ArraySource(images, targets % 2, [f"{index:04d}" for index in range(len(targets))])
        used = (targets <= self.largest).nonzero()[:, 0]
        return {"train": source.subset(used[used % 5 > 0]), "test": source.subset(used[used % 5 == 0])}
'''

ARCHITECTURE = '''
"""A net of two layers."""

from torch import Tensor, nn


class Spot(nn.Module):
    """Convolution, mean over the image, linear layer."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(self, *, num_classes: int, in_channels: int, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.head = nn.Linear(width, num_classes)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output."""
        return [("stem", ["stem"]), ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.head(self.stem(images).relu().mean((-2, -1)))
'''

MODE = '''
def alternating(names: Sequence[str], epoch: int, *, period: int = 1) -> Shares:
    """Head and the rest train in turns of `period` epochs."""
    head = epoch // period % 2 == 0
    return {name: 1.0 for name in names if (name == "head") == head}
'''

MODE_YAML = """
# Head and the rest train in turns.
name: alternating
allow_random: true
period: 2  # epochs of a turn
"""

AUGMENTATION = '''
"""Black for white."""

from typing import Annotated

import torch


def negative(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Invert uint8 images ``(B, C, H, W)`` where ``chosen``, bool ``(B,)``, is true."""
    return torch.where(chosen.view(-1, 1, 1, 1), 255 - images, images)


class Negative:
    """Invert with probability ``p``."""

    def __init__(self, *, p: Annotated[float, "0 <= x <= 1"] = 0.5) -> None:
        self.p = p

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Invert some images; targets and masks stay."""
        chosen = (torch.rand(len(images), generator=generator) < self.p).to(images.device)
        print("negative at", self.p)
        return negative(images, chosen), targets, masks
'''

EXPERIMENT = """# @package _global_
# goal: tell odd digits from even ones
# command: python train.py experiment=parity_spot
# hardware: two CPU cores
# minutes: 0.1
# result: test/accuracy mean 0.6, range 0.5 to 0.7 over 3 seeds (0, 1, 2)
# date: 2026-11-22
defaults:
  - override /data: parity
  - override /model: spot
  - override /transfer: alternating
data:
  largest: 7
model:
  width: 12
transfer:
  period: 1
augment:
  negative:
    p: 0.25
trainer:
  max_epochs: 3
"""


class Copy:
    """A copy of the project that knows which files were touched since it was last asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / part, root / part)
        self._known = self._contents()

    def _contents(self) -> dict[str, bytes]:
        files = (path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}

    def add(self, path: str, text: str) -> None:
        """Write a new file."""
        assert not (self.root / path).exists(), path
        (self.root / path).write_text(text.lstrip("\n"), encoding="utf-8")

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


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("fork"))

    # new data set: one file, one YAML that is its neighbour's with another class and one argument
    copy.add("datamodules/parity.py", DATA_SET)
    digits = (ROOT / "configs/data/digits.yaml").read_text(encoding="utf-8")
    parity = digits.replace("datamodules.digits.Digits", "datamodules.parity.Parity")
    copy.add("configs/data/parity.yaml", parity.replace("name: digits", "name: parity") + "largest: 9  # digit\n")
    assert copy.touched() == {"datamodules/parity.py": 0, "configs/data/parity.yaml": 0}

    # new architecture: one file, one line
    copy.add("models/nets/spot.py", ARCHITECTURE)
    copy.add_row("models/nets/__init__.py", "NETS", '"spot": ("spot:Spot", {}),')
    assert copy.touched() == {"models/nets/spot.py": 0, "models/nets/__init__.py": 1}

    # new transfer mode: one function, one row, one YAML
    copy.add_function("models/transfer.py", "MODES", MODE)
    copy.add_row("models/transfer.py", "MODES", '"alternating": alternating,')
    copy.add("configs/transfer/alternating.yaml", MODE_YAML)
    lines = MODE.count("\n") + 2
    assert copy.touched() == {"models/transfer.py": lines, "configs/transfer/alternating.yaml": 0}

    # new augmentation: one file with one pure function, one row
    copy.add("datamodules/batch/negative.py", AUGMENTATION)
    copy.add_row("datamodules/batch/__init__.py", "OPERATIONS", '"negative": "negative:Negative",')
    assert copy.touched() == {"datamodules/batch/negative.py": 0, "datamodules/batch/__init__.py": 1}

    # new experiment: one YAML with its claim
    copy.add("configs/experiment/parity_spot.yaml", EXPERIMENT)
    assert copy.touched() == {"configs/experiment/parity_spot.yaml": 0}
    return copy


def test_one_run_uses_all_of_them(fork):
    import torch
    from sklearn.datasets import load_digits

    result = fork.run("train.py", "experiment=parity_spot", "name=first", "callbacks.report=null")
    assert result.returncode == 0, result.stderr
    folder = fork.root / "runs/parity_spot/first"
    assert result.stdout.splitlines()[-1] == f"run: {folder}"

    with (folder / "splits.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert len(rows) == (load_digits().target <= 7).sum()  # the data set, with its own argument
    assert {row[1] for row in rows} == {"even", "odd"}
    checkpoint = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["net.head.weight"].shape == (2, 12)  # the net, with its own argument
    with (folder / "stages.csv").open(newline="") as file:
        trained = {row["stage"]: row["epochs"] for row in csv.DictReader(file)}
    assert trained == {"stem": "2", "head": "1, 3"}  # the mode, with its argument from the experiment
    steps = json.loads((folder / "summary.json").read_text())["steps"]
    # the recipe, in training batches alone, and once before them, to see that it fits the images' size
    assert result.stdout.count("negative at 0.25") == steps + 1 > 1


def test_their_mistakes_are_found_as_ours_are(fork):
    mistakes = ("data.larjest=3", "model.widht=3", "transfer.perod=1", "augment.negative.q=1", "augment.negativ.p=1")
    result = fork.run("train.py", "experiment=parity_spot", *mistakes, "--cfg", "job")
    assert result.returncode == 2, result.stdout
    for word in (
        "larjest",
        "largest",
        "widht",
        "width",
        "perod",
        "period",
        r"augment\.negative\.q",
        r"augment\.negativ\b",
    ):
        assert re.search(word, result.stderr), (word, result.stderr)


def test_help_shows_them(fork):
    page = fork.run("train.py", "--help").stdout
    assert "parity" in page.split() and "tell odd digits from even ones" in page


def test_the_tests_of_the_copy_find_them(fork):
    """Whole-registry tests pass on the new net and name it; streets and claims hold."""
    result = fork.run(
        "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "spot or keeps_to_its_streets",
        "tests/models", "tests/test_imports.py",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    passed = [line for line in result.stdout.splitlines() if "PASSED" in line]
    for part in ("tests/models/nets", "claim[parity_spot]", "keeps_to_its_streets"):
        assert any(part in line for line in passed), (part, result.stdout)
