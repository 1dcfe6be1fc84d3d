"""Whole runs of each task but classification: train, resume, evaluate, predict, and what is refused before a run."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from datamodules import fashion_scenes
from datamodules.fashion_mnist import DEBIAN_FOLDER
from datamodules.fashion_scenes import FashionScenes
from evaluate import evaluate
from predict import predict
from predict import run as run_predict
from settings.commands.predict import compose_jobs
from settings.errors import UserError
from settings.reading.compose import compose
from train import train

SCENES = ["data=fashion_scenes", "model=unet_tiny", "data.batch_size=16", "trainer.accelerator=cpu"]
QUIET = ["callbacks.progress=false"]
installed = pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="needs Debian's dataset-fashion-mnist")


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Overrides of a run on few scenes."""
    monkeypatch.setattr(fashion_scenes, "COUNTS", {"train": 48, "val": 16, "test": 20})
    yield [*SCENES, f"paths.data={tmp_path / 'data'}", f"paths.runs={tmp_path / 'runs'}"]


def folder_of(tmp_path: Path, name: str) -> Path:
    (found,) = (tmp_path / "runs").glob(f"*/{name}")
    return found


@installed
def test_a_segmentation_trains_resumes_scores_and_predicts(tmp_path: Path, scenes: list[str]) -> None:
    line = [*scenes, *QUIET, "augment=light", "scheduler=constant"]
    metrics = train([*line, "trainer.max_epochs=2", "name=whole"])
    run = folder_of(tmp_path, "whole")
    assert {"test/miou", "test/dice", "test/pixel_accuracy", "test/loss", "val/miou"} <= set(metrics)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["monitor"] == "val/miou" and summary["metric_modes"]["miou"] == "max"
    page = (run / "report.html").read_text()
    assert "Hardest test images" in page and "pixels" in page and "Augmentation" in page

    train([*line, "trainer.max_epochs=1", "name=parts", "test=false", "callbacks.report=null"])
    train([*line, "trainer.max_epochs=2", "name=parts", "resume=auto"])
    weights = [
        torch.load(folder_of(tmp_path, name) / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])

    scored = evaluate(f"run={run}")
    assert {name: scored[name] for name in scored if name != "test/loss"} == {
        name: metrics[name] for name in scored if name != "test/loss"
    }
    assert scored["test/loss"] == pytest.approx(metrics["test/loss"], rel=1e-6)
    rows = list(csv.DictReader((run / "evaluation/test-centre/predictions.csv").open()))
    assert len(rows) == 20 and {"path", "true", "predicted", "miou", "loss"} <= set(rows[0])
    with pytest.raises(UserError, match="views, attack: not for task=segmentation"):
        evaluate(f"run={run}", "views=ten_crop", "attack=fgsm")

    data = FashionScenes(data_dir=tmp_path / "data")
    image = data.sources()["test"].images[0, 0].numpy()
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(image).save(photos / "own.png")
    Image.fromarray(np.kron(image, np.ones((2, 3), np.uint8))).save(photos / "wide.png")  # 192 x 128
    (photos / "bad.png").write_text("no picture")
    output = tmp_path / "shares.csv"
    (job,) = compose_jobs([f"run={run}", f"images={photos}", f"output={output}", "overlay=true"], multirun=False)
    run_predict(job)
    masks = {path.name: Image.open(path) for path in (tmp_path / "shares-masks").iterdir()}
    assert set(masks) == {"own.png", "own-overlay.png", "wide.png", "wide-overlay.png"}
    own, wide = np.array(masks["own.png"]), np.array(masks["wide.png"])
    assert masks["own.png"].mode == "P" and own.shape == (64, 64) and wide.shape == (128, 192)
    assert (wide[:, :32] == 255).all() and (wide[:, -32:] == 255).all(), "the centre crop leaves them out"
    assert (wide[:, 33:-33] < 11).all()
    shares = {Path(row["path"]).name: row for row in csv.DictReader(output.open())}
    assert float(shares["own.png"]["background"]) == pytest.approx((own == 0).mean(), abs=1e-6)
    assert shares["bad.png"]["reason"] and not shares["bad.png"]["background"]


@installed
def test_masks_move_with_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images whose grey levels are their classes, so that a pixel that moved alone would be seen."""
    monkeypatch.setattr(fashion_scenes, "COUNTS", {"train": 16, "val": 4, "test": 4})
    data = FashionScenes(data_dir=tmp_path)
    data.prepare_data()
    recipe = {
        "random_crop": {"padding": 0.125},
        "horizontal_flip": {"p": 0.5},
        "quarter_turn": {"p": 0.5},
        "cutmix": {},
    }
    data.configure(recipe=recipe, batch_size=16)
    data.setup()
    source = data.splits["train"]
    masks = source.targets[:16]
    images = (masks * 20)[:, None]
    moved, targets = data.augmented_batch((images, masks), step=3)
    assert targets.dtype == torch.int64 and not torch.equal(targets, masks.long())
    real = targets != 255
    assert (targets == 255).any() and torch.equal(moved[:, 0][real].long(), targets[real] * 20)


def test_a_list_of_label_sets_is_learnt_scored_and_predicted(tmp_path: Path) -> None:
    digits, draws, lines = load_digits(), np.random.default_rng(0), []
    for number in range(120):
        pair = draws.integers(0, 300, 2)
        image = np.concatenate([digits.images[index] for index in pair], axis=1).repeat(2, axis=0) * 15
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'|'.join(sorted({str(digits.target[index]) for index in pair}))}")
    lines[5] = "5.png,"  # an image may have no label
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,labels", *lines, ""]))
    data = ["data=csv", f"data.root={table}", "data.channels=1", "data.image_size=16", "data.batch_size=16"]
    config = compose(data)
    assert config.task == "multilabel" and config.loss.name == "binary_cross_entropy"
    assert compose([*data, "task=classification"]).loss.name == "cross_entropy"
    line = [
        *data,
        *QUIET,
        "model=mlp",
        "trainer.max_epochs=2",
        "trainer.accelerator=cpu",
        f"paths.runs={tmp_path / 'runs'}",
    ]
    more = ["data.balance=oversample", "augment.mixup.alpha=0.4", "metrics=[hamming_distance]", "name=sets"]
    metrics = train([*line, *more])
    run = folder_of(tmp_path, "sets")
    assert {"test/mean_average_precision", "test/exact_match", "test/hamming_distance"} <= set(metrics)
    rows = {row["file"]: row["class"] for row in csv.DictReader((run / "splits.csv").open())}
    assert rows["5.png"] == "" and rows["0.png"] == lines[0].partition(",")[2]
    assert json.loads((run / "summary.json").read_text())["metric_modes"]["hamming_distance"] == "min"
    scored = evaluate(f"run={run}")
    assert {name: scored[name] for name in metrics if name.startswith("test/")} == pytest.approx(
        {name: value for name, value in metrics.items() if name.startswith("test/")}, rel=1e-6
    )
    (said,) = predict(f"run={run}", f"images={tmp_path / '0.png'}")
    assert set(said) == {"path", "labels", "probabilities", "reason"}
    assert said["labels"] == [name for name, value in said["probabilities"].items() if value > 0.5]
    table = {row["path"]: row for row in csv.DictReader((run / "evaluation/test-centre/predictions.csv").open())}
    key = next(iter(table))
    (again,) = predict(f"run={run}", f"images={tmp_path / key}")
    assert {name: float(table[key][name]) for name in again["probabilities"]} == pytest.approx(again["probabilities"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data=fashion_scenes model=resnet20", "nets for it: unet_2015, unet_small"),
        ("model=unet_small", "model=unet_small: gives no score a class of an image"),
        ("data=fashion_scenes augment=strong", "augment.mixup=null leaves it out"),
        ("data=fashion_scenes augment.adversarial_erasing.p=0.5", "asks the net for its class of an image"),
        ("data=fashion_scenes augment.CLAHE.p=0.5", "changes single images without their masks"),
        ("data=fashion_scenes loss.class_weights=balanced loss=dice", "loss=dice takes none"),
        ("data=fashion_scenes task=classification", "tasks for it: multilabel, segmentation"),
        ("metrics=[cohen_kapa]", "cohen_kappa"),
        ("metrics=[accuracy]", "task=classification reports it already"),
        ("metrics={f1_score: {avarage: micro}}", "metrics.f1_score.average"),
        ("metrics=[hinge_loss] monitor=val/hinge_loss monitor_mode=max", "monitor_mode=min"),
    ],
)
def test_what_does_not_fit_the_task_is_refused_with_what_does(words: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        compose(words.split(" ") if "{" not in words else [words])
    assert said in str(error.value), error.value
