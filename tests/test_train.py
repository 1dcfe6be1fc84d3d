"""`python train.py` from the outside: what a run leaves behind, and whether its numbers are true."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, f1_score, log_loss, recall_score

from engine.data_and_task import build_data, build_task
from models import load_run
from settings.errors import UserError
from settings.reading.compose import compose
from settings.runs import ROOT
from train import train

SUMMARY_KEYS = {
    *(
        "schema",
        "status",
        "metrics",
        "test/accuracy_interval",
        "monitor",
        "best_epoch",
        "epochs",
        "steps",
        "resumes",
    ),
    *(
        "parent",
        "reason",
        "exit_code",
        "world_size",
        "train_seconds",
        "train_samples_per_second",
        "parameters",
    ),
    *(
        "trainable_parameters",
        "seed",
        "command",
        "hardware",
        "git",
        "packages",
        "data_fingerprint",
        "tracking",
    ),
}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default run, as a new user types it, with a name and place that plain tools would stumble over."""
    runs = tmp_path_factory.mktemp("my runs, (v=2) [é] #1")
    done = subprocess.run(
        [sys.executable, "train.py", f"paths.runs={runs}", "name=first, é=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = runs / "digits-resnet20" / "first, é=1"
    assert done.stdout.splitlines()[-1] == f"run: {folder}"
    return folder


def test_the_run_folder_holds_what_the_contract_says(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary.keys() >= SUMMARY_KEYS
    assert (summary["status"], summary["exit_code"], summary["resumes"], summary["parent"]) == (
        "finished",
        0,
        0,
        None,
    )
    assert summary["metrics"].keys() >= {"test/accuracy", "test/loss", "val/accuracy", "val/loss"}
    low, high = summary["test/accuracy_interval"]
    assert low < summary["metrics"]["test/accuracy"] < high
    assert shlex.split(summary["command"])[2:] == [f"paths.runs={folder.parents[1]}", "name=first, é=1"]
    for name in ("config.yaml", "metrics.csv", "splits.csv", "train.log", "checkpoints/previous.ckpt"):
        assert (folder / name).is_file(), name
    assert not list(folder.rglob("*.tmp"))


def test_metrics_csv_has_a_row_an_epoch_with_rising_steps(folder: Path) -> None:
    found = rows(folder / "metrics.csv")
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    epochs = [row for row in found if row["train/loss"]]
    assert len(epochs) == config["trainer"]["max_epochs"]
    assert all(row["val/loss"] and row["val/accuracy"] and row["lr"] for row in epochs)
    steps = [int(row["step"]) for row in found]
    assert steps == sorted(set(steps))


def test_splits_are_stratified_disjoint_and_whole(folder: Path) -> None:
    found = rows(folder / "splits.csv")
    assert len({row["file"] for row in found}) == len(found) == 1797
    for digit in "0123456789":
        shares = [
            sum(row["split"] == split for row in found if row["class"] == digit) for split in ("train", "val", "test")
        ]
        whole = sum(shares)
        assert shares[2] == pytest.approx(whole / 5, abs=1)
        assert shares[1] == pytest.approx((whole - shares[2]) / 10, abs=1)


def test_the_best_checkpoint_scores_what_the_summary_says_recomputed_from_its_numbers(folder: Path) -> None:
    run = load_run(folder)
    data, preparation = load_digits(), run.preprocessing
    split = {row["file"]: row["split"] for row in rows(folder / "splits.csv")}
    chosen = np.array([split[f"digits/{index:04d}"] == "test" for index in range(len(data.images))])
    pixels = np.round(data.images[chosen] * 255 / 16) / 255
    images = torch.tensor((pixels - preparation.mean[0]) / preparation.std[0], dtype=torch.float32)[:, None]
    with torch.no_grad():
        probs = run.net.eval()(images).softmax(1).numpy().astype(float)
    truth, guess = data.target[chosen], probs.argmax(1)
    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["metrics"]
    assert found["test/accuracy"] == pytest.approx(accuracy_score(truth, guess), abs=1e-12)
    assert found["test/accuracy"] >= 0.97
    assert found["test/accuracy_macro"] == pytest.approx(recall_score(truth, guess, average="macro"), abs=1e-9)
    assert found["test/f1_macro"] == pytest.approx(f1_score(truth, guess, average="macro"), abs=1e-9)
    assert found["test/loss"] == pytest.approx(log_loss(truth, probs / probs.sum(1, keepdims=True)), abs=1e-5)


def test_the_checkpoint_stands_alone_as_plain_data(folder: Path) -> None:
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    card = checkpoint["lightbox"]
    assert card.keys() >= {
        "schema",
        "task",
        "model",
        "class_names",
        "preprocessing",
        "split_seed",
        "data_fingerprint",
        "config",
    }
    assert json.loads(json.dumps(card)) == card, "plain values only"
    assert card["class_names"] == list("0123456789")


def test_config_yaml_repeats_the_run_to_the_bit(folder: Path, tmp_path: Path) -> None:
    from settings.reading.compose import config_from_plain
    from train import run

    small = [
        "trainer.max_epochs=1",
        "model.width=4",
        "data.per_class=16",
        f"paths.runs={tmp_path}",
        "test=false",
    ]
    first = train([*small, "name=first"])
    stored = yaml.safe_load((tmp_path / "digits-resnet20" / "first" / "config.yaml").read_text())
    assert run(config_from_plain({**stored, "name": "second"})) == first
    weights = [
        torch.load(tmp_path / "digits-resnet20" / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("first", "second")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_seed_moves_the_weights_and_not_the_split(tmp_path: Path) -> None:
    small = [
        "trainer.max_epochs=1",
        "model.width=4",
        "data.per_class=16",
        f"paths.runs={tmp_path}",
        "test=false",
    ]
    train([*small, "name=a"])
    train([*small, "name=b", "seed=1"])
    a, b = (tmp_path / "digits-resnet20" / name for name in "ab")
    assert (a / "splits.csv").read_text() == (b / "splits.csv").read_text()
    one, other = (torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in (a, b))
    assert not torch.equal(one["net.head.weight"], other["net.head.weight"])
    train([*small, "name=c", "data.split_seed=1"])
    assert (tmp_path / "digits-resnet20" / "c" / "splits.csv").read_text() != (a / "splits.csv").read_text()


@pytest.mark.parametrize(
    "craft",
    [
        ["trainer.precision=bf16-mixed", "trainer.channels_last=true"],
        ["trainer.precision=bf16-true", "trainer.channels_last=true"],
        ["trainer.precision=64-true", "augment=strong", "data.test_views=flip"],
        ["trainer.gradient_clip_val=1.0", "trainer.accumulate_grad_batches=2", "optimizer=sgd"],
        ["loss.l1=1e-4", "loss.l2=1e-3", "loss.label_smoothing=0.1", "optimizer=rmsprop"],
        [
            "scheduler=cosine",
            "scheduler.warmup_epochs=0.5",
            "optimizer=adagrad",
            "trainer.limit_val_batches=1",
        ],
        ["trainer.check_val_every_n_epoch=2", "trainer.max_epochs=2", "optimizer=adadelta"],
        ["trainer.val_check_interval=0.5", "callbacks.checkpoint.every_n_steps=1"],
        ["augment=strong", "loss.class_weights=balanced", "monitor=val/f1_macro"],
        ["augment=standard", "data.balance=oversample", "loss.class_weights=[1,1,1,1,1,2,1,1,0.5,1]"],
        ["debug=fast"],
        ["debug=profile"],
        ["model=lenet5"],
        ["model=resnet18", "data.image_size=32"],
        ["model=vit_tiny_patch16_224", "data.image_size=32", "model.arguments={img_size: 32, depth: 1}"],
    ],
    ids=lambda craft: " ".join(craft),
)
def test_every_option_trains_and_is_tested(craft: list[str], tmp_path: Path) -> None:
    small = ["trainer.max_epochs=1", "data.per_class=16", "data.batch_size=32", f"paths.runs={tmp_path}"]
    metrics = train([*small, *craft])
    assert 0 <= metrics["test/accuracy"] <= 1
    (summary,) = tmp_path.glob("*/*/summary.json")
    assert json.loads(summary.read_text())["status"] == "finished"


def test_averaged_weights_are_the_ones_that_are_tested(tmp_path: Path) -> None:
    metrics = train(
        [
            "model.width=4",
            "data.per_class=32",
            "trainer.max_epochs=3",
            "callbacks.ema.decay=0.9",
            f"paths.runs={tmp_path}",
        ]
    )
    (path,) = tmp_path.glob("*/*/checkpoints/best.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    assert not torch.equal(
        checkpoint["state_dict"]["net.head.weight"], checkpoint["current_model_state"]["net.head.weight"]
    )
    run = load_run(path)
    assert torch.equal(run.net.state_dict()["head.weight"], checkpoint["state_dict"]["net.head.weight"])
    scored = {key: value for key, value in metrics.items() if key.startswith("val/")}
    assert scored == {key: value for key, value in _best_metrics(checkpoint).items() if key.startswith("val/")}


def _best_metrics(checkpoint: dict[str, Any]) -> dict[str, float]:
    return next(state["metrics"] for key, state in checkpoint["callbacks"].items() if key.startswith("BestCheckpoint"))


def test_debug_overfit_learns_its_batches_by_heart(tmp_path: Path) -> None:
    train(["debug=overfit", f"paths.runs={tmp_path}", "test=false"])
    (path,) = tmp_path.glob("*/*/metrics.csv")
    found = [row for row in rows(path) if row["val/accuracy"]]
    assert float(found[-1]["val/accuracy"]) == 1.0
    assert len(found) < 100, "it stops when they are learnt"


def test_early_stopping_ends_the_run(tmp_path: Path) -> None:
    train(
        [
            *(
                "optimizer=sgd",
                "optimizer.lr=1e-7",
                "callbacks.early_stopping.patience=2",
                "trainer.max_epochs=20",
            ),
            *("model.width=4", "data.per_class=16", f"paths.runs={tmp_path}", "test=false"),
        ]
    )
    (path,) = tmp_path.glob("*/*/summary.json")
    assert json.loads(path.read_text())["epochs"] < 20


def test_a_grid_runs_every_job(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "train.py", "-m", "seed=0,1", "debug=fast", "model.width=4"),
            *(f"paths.runs={tmp_path}", "name=grid"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    folders = sorted(path.parent for path in tmp_path.glob("*/*/summary.json"))
    assert [folder.name for folder in folders] == ["grid-0", "grid-1"]
    seeds = [json.loads((folder / "summary.json").read_text())["seed"] for folder in folders]
    assert seeds == [0, 1]
    assert done.stdout.count("run: ") == 2


def test_a_mistake_ends_with_exit_code_2_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "train.py", "model=vgg166", "optimizer.lrr=1", f"paths.runs={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "vgg16" in done.stderr and "optimizer.lr" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_balanced_weights_are_counted_on_the_training_images_and_reach_the_loss() -> None:
    config = compose(["loss.class_weights=balanced", "model=softmax", "data.val_fraction=0.3"])
    data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    counts = data.splits["train"].targets.bincount()
    weights = counts.sum() / (10 * counts)
    assert torch.allclose(task.class_weights, weights.float())
    task.on_train_epoch_start()
    images, targets = data.train_batch(next(iter(data.train_dataloader())), step=0)
    expected = torch.nn.CrossEntropyLoss(weight=weights.float())(task(images), targets)
    assert torch.allclose(task.training_step((images, targets), 0), expected)
    plain = build_task(compose(["model=softmax"]), data, preprocessing)
    assert plain.class_weights is None


def test_weights_for_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has 2 weights, and the data has 10 classes"):
        train(["loss.class_weights=[1,2]", f"paths.runs={tmp_path}"])
    assert list(tmp_path.iterdir()) == []


def test_a_run_says_what_it_starts_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Foreign names, three channels and other classes: one line each in the log, and every tensor in a table."""
    from models.build import build_net

    small = {"depth": 8, "width": 4}
    other = build_net(name="resnet20", num_classes=3, in_channels=3, image_size=8, arguments=small)
    tensors = {f"t{i}.{name.split('.')[-1]}": value for i, (name, value) in enumerate(other.state_dict().items())}
    torch.save(tensors, tmp_path / "foreign, v=1.pth")
    arguments = ["transfer=full", f"model.weights={tmp_path}/foreign, v=1.pth", "model.weights_by_order=true"]
    arguments += ["model.depth=8", "model.width=4", "data.mean=0.5", "data.std=0.25", "data.test_images=100"]
    arguments += [f"paths.runs={tmp_path}", "trainer.max_epochs=1", "callbacks=none", "name=one"]
    train(arguments)
    said = capsys.readouterr().out
    run = tmp_path / "digits-resnet20" / "one"
    line = "tensors by order; input channels adapted: conv.weight; new at random: head.weight, head.bias; 2 of the file"
    settled = "mean 0.5, std 0.25; from the data: foreign, v=1.pth does not say, but for data.mean, data.std"
    for text in (said, (run / "train.log").read_text()):
        assert line in text and settled in text
    table = rows(run / "weights.csv")
    assert table[0] == {"tensor": "conv.weight", "shape": "4x1x3x3", "from": "t0.weight", "how": "adapted"}
    assert [row["tensor"] for row in table if row["how"] == "new"] == ["head.weight", "head.bias"]
    tested = [row for row in rows(run / "splits.csv") if row["split"] == "test"]
    assert len(tested) == 100 and len({row["class"] for row in tested}) == 10
