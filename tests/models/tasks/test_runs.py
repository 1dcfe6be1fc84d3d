"""Whole runs of each task but classification: train, resume, and what is refused before a run."""

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
from models import load_run
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


def label_probabilities(run: Path, file: Path) -> dict[str, float]:
    """Each label's probability on one picture of the size that the net reads, by hand."""
    net, how, class_names = load_run(run)
    pixels = torch.from_numpy(np.array(Image.open(file).convert("L")))[None, None]
    with torch.inference_mode():
        probs = net((pixels / 255.0 - how.mean[0]) / how.std[0])[0].sigmoid()
    return dict(zip(class_names, probs.tolist(), strict=True))


@installed
def test_a_segmentation_trains_and_resumes(tmp_path: Path, scenes: list[str]) -> None:
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


@pytest.fixture
def label_sets(tmp_path: Path) -> list[str]:
    """Overrides of a run on pairs of digits, whose labels are a set; one image has none."""
    digits, draws, lines = load_digits(), np.random.default_rng(0), ["file,labels"]
    for number in range(120):
        pair = draws.integers(0, 300, 2)
        image = np.concatenate([digits.images[index] for index in pair], axis=1).repeat(2, axis=0) * 15
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{number}.png")
        names = "" if number == 5 else "|".join(sorted({str(digits.target[index]) for index in pair}))
        lines.append(f"{number}.png,{names}")
    (tmp_path / "labels.csv").write_text("\n".join([*lines, ""]))
    data = ["data=csv", f"data.root={tmp_path / 'labels.csv'}", "data.channels=1", "data.image_size=16"]
    how = ["data.batch_size=16", "model=mlp", "trainer.max_epochs=2", "trainer.accelerator=cpu"]
    return [*data, *how, *QUIET, f"paths.runs={tmp_path / 'runs'}"]


def test_a_list_of_label_sets_is_learnt(tmp_path: Path, label_sets: list[str]) -> None:
    config = compose(label_sets)
    assert config.task == "multilabel" and config.loss.name == "binary_cross_entropy"
    assert compose([*label_sets, "task=classification"]).loss.name == "cross_entropy"
    more = ["data.balance=oversample", "augment.mixup.alpha=0.4", "metrics=[hamming_distance]", "name=sets"]
    metrics = train([*label_sets, *more])
    run = folder_of(tmp_path, "sets")
    assert {"test/mean_average_precision", "test/exact_match", "test/hamming_distance"} <= set(metrics)
    listed = dict(line.split(",") for line in (tmp_path / "labels.csv").read_text().splitlines()[1:])
    rows = {row["file"]: row["class"] for row in csv.DictReader((run / "splits.csv").read_text().splitlines())}
    assert rows["5.png"] == "" and rows["0.png"] == listed["0.png"] != ""
    assert json.loads((run / "summary.json").read_text())["metric_modes"]["hamming_distance"] == "min"


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
        ("data=fashion_scenes data.test_views=flip_shift", "not for task=segmentation, which has centre, flip"),
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
