"""`python predict.py` with runs of each task but classification: masks as files, label sets as rows."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.fashion_scenes import FashionScenes
from models.export import read_program
from predict import predict
from predict import run as run_predict
from settings.commands.predict import compose_jobs
from settings.errors import UserError
from tests.models.tasks.test_runs import QUIET, folder_of, installed, label_probabilities, label_sets, scenes
from train import train

__all__ = ["label_sets", "scenes"]  # fixtures


@installed
def test_a_segmentation_writes_masks_and_shares(tmp_path: Path, scenes: list[str]) -> None:
    train([*scenes, *QUIET, "trainer.max_epochs=1", "name=whole", "test=false", "callbacks.report=null"])
    run = folder_of(tmp_path, "whole")
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
    masks = {path.name: Image.open(path).copy() for path in (tmp_path / "shares-masks").iterdir()}
    assert set(masks) == {"own.png", "own-overlay.png", "wide.png", "wide-overlay.png"}
    own, wide = np.array(masks["own.png"]), np.array(masks["wide.png"])
    assert masks["own.png"].mode == "P" and own.shape == (64, 64) and wide.shape == (128, 192)
    assert (wide[:, :32] == 255).all() and (wide[:, -32:] == 255).all(), "the centre crop leaves them out"
    assert (wide[:, 33:-33] < 11).all()
    shares = {Path(row["path"]).name: row for row in csv.DictReader(output.read_text().splitlines())}
    assert float(shares["own.png"]["background"]) == pytest.approx((own == 0).mean(), abs=1e-6)
    assert shares["bad.png"]["reason"] and not shares["bad.png"]["background"]


def test_label_sets_are_predicted(tmp_path: Path, label_sets: list[str]) -> None:
    train([*label_sets, "name=sets", "test=false", "callbacks.report=null"])
    run = folder_of(tmp_path, "sets")
    (said,) = predict(f"run={run}", f"images={tmp_path / '0.png'}")
    assert set(said) == {"path", "labels", "probabilities", "reason"}
    assert said["probabilities"] == pytest.approx(label_probabilities(run, tmp_path / "0.png"), abs=1e-6)
    assert said["labels"] == [name for name, value in said["probabilities"].items() if value > 0.5]
    stored = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["lightbox"]
    thresholds = dict(zip(stored["class_names"], stored["calibration"]["thresholds"], strict=True))
    (tuned,) = predict(f"run={run}", f"images={tmp_path / '0.png'}", "thresholds=tuned")
    assert tuned["probabilities"] == said["probabilities"] and tuned["labels"] != said["labels"]
    assert tuned["labels"] == [name for name, value in said["probabilities"].items() if value > thresholds[name]]
    (job,) = compose_jobs([f"run={run}", "export=torch_export", "compile=false"], multirun=False)
    run_predict(job)
    about = read_program(run / "export" / "mlp.pt2")[1]
    assert about["calibration"] == stored["calibration"]
    assert about["output"]["probabilities"] == "sigmoid(logits)"
    train(["model=softmax", "trainer.max_epochs=1", f"paths.runs={tmp_path / 'runs'}", "name=other", *QUIET])
    with pytest.raises(UserError, match="thresholds=tuned: this run"):
        predict(f"run={folder_of(tmp_path, 'other')}", f"images={tmp_path / '0.png'}", "thresholds=tuned")
