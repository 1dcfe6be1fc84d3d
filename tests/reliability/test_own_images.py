"""Runs on folders and CSV files, from the command line's words to the metrics; stopped and resumed."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks.signals import Stopped
from models.tasks.classification import Classification
from settings.errors import UserError
from train import train

SMALL = [
    "data=folder",
    "data.channels=1",
    "data.batch_size=16",
    "model=cnn",
    "model.widths=[4,4]",
    "model.dropout=0.2",
    "trainer.max_epochs=2",
    "callbacks=none",
]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: Any) -> Path:
    """60 real scans of each of three digits, as PNG in class folders."""
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("own") / "Photos (2024), a=b"
    found = load_digits()
    for label in (0, 1, 2):
        (root / str(label)).mkdir(parents=True)
        for number, image in enumerate(found.images[found.target == label][:60]):
            Image.fromarray((image * 15).astype(np.uint8)).save(root / str(label) / f"{number}.png")
    return root


def last(runs: Path, name: str) -> dict[str, Any]:
    (path,) = runs.glob(f"*/{name}/checkpoints/last.ckpt")
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_on_files_some_of_them_broken_goes_on_to_the_same_weights(
    workers: int, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other images take the place of those that cannot be read, and must be the same ones again.
    digits = Path(shutil.copytree(digits, tmp_path / "photos"))
    for number in range(0, 60, 7):
        (digits / "1" / f"{number}.png").write_bytes(b"this is a text")
    overrides = [*SMALL, f"data.root={digits}", "augment=albumentations", f"paths.runs={tmp_path}", "test=false"]
    overrides.append("data.check=off")
    overrides.append(f"paths.data={tmp_path}")
    train([*overrides, f"data.num_workers={workers}", "name=whole"])
    original = Classification.training_step
    seen = 0

    def step(self: Any, *arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 10:  # in the second epoch of 7 steps
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    monkeypatch.setattr(Classification, "training_step", step)
    with pytest.raises(Stopped):
        train([*overrides, f"data.num_workers={workers}", "name=cut"])
    assert last(tmp_path, "cut")["global_step"] == 10
    # the number of workers may change on the way
    train([*overrides, f"data.num_workers={2 - workers}", "name=cut", "resume=auto"])
    one, other = last(tmp_path, "whole"), last(tmp_path, "cut")
    assert one["global_step"] == other["global_step"] > 10
    for key, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][key]), key
    named = [path.read_text() for path in sorted(tmp_path.glob("*/*/bad_files.csv"))]
    assert [set(text.splitlines()) for text in named] == [set(named[0].splitlines())] * 2


def test_another_seed_draws_other_weights_so_that_equality_means_something(digits: Path, tmp_path: Path) -> None:
    overrides = [*SMALL, f"data.root={digits}", "augment=photo", f"paths.runs={tmp_path}", f"paths.data={tmp_path}"]
    for name, seed in (("one", 0), ("two", 1)):
        train([*overrides, "test=false", "data.num_workers=0", f"seed={seed}", f"name={name}"])
    one, two = (last(tmp_path, name)["state_dict"] for name in ("one", "two"))
    assert not all(torch.equal(value, two[key]) for key, value in one.items())


def test_a_folder_without_test_images_ends_without_test_metrics(digits: Path, tmp_path: Path, capsys: Any) -> None:
    for label in ("0", "1"):
        (tmp_path / "mine" / "train").mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / "train" / label).symlink_to(digits / label)
    metrics = train(
        [*SMALL, f"data.root={tmp_path / 'mine'}", f"paths.runs={tmp_path}", f"paths.data={tmp_path}", "name=x"]
    )
    assert "val/accuracy" in metrics and not any(name.startswith("test/") for name in metrics)
    assert "no test: there are no test images" in capsys.readouterr().out
    (summary,) = tmp_path.glob("*/x/summary.json")
    assert json.loads(summary.read_text())["status"] == "finished"


def test_a_csv_file_trains_as_the_folder_it_lists(digits: Path, tmp_path: Path) -> None:
    table = digits.parent / "list of files, new.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "Path", "Label"])
        for path in sorted(digits.glob("*/*.png")):
            split = {"7": "val", "8": "test", "9": "test"}.get(path.stem[-1], "train")
            writer.writerow([split, path.relative_to(table.parent), f"digit {path.parent.name}"])
    common = [*SMALL[1:], f"paths.runs={tmp_path}", f"paths.data={tmp_path}", "trainer.max_epochs=8"]
    metrics = train(["data=csv", f"data.root={table}", *common, "name=csv"])
    assert metrics["test/accuracy"] > 0.8
    (splits,) = tmp_path.glob("*/csv/splits.csv")
    rows = list(csv.reader(splits.read_text(encoding="utf-8").splitlines()))[1:]
    assert len(rows) == 180
    assert {row[1] for row in rows} == {"digit 0", "digit 1", "digit 2"}
    assert all(row[2] == "test" for row in rows if row[0].endswith("8.png"))


def test_what_is_wrong_with_own_images_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError) as wrong:
        train(
            [
                *("data=folder", f"data.root={tmp_path / 'nowhere'}", "data.label_from=(", "data.group_by=abc"),
                *("data.test_fraction=1.5", "data.check=fulll", "data.channels=2", f"paths.runs={tmp_path / 'runs'}"),
                *("+augment.GaussianBlurr.p=0.5", "+augment.GaussianBlur.sigma_limits=1"),
            ]
        )
    text = str(wrong.value)
    for part in (
        "no regular expression",
        "needs a (group)",
        "GaussianBlur",
        "sigma_limit",
        "data.check",
        "data.channels",
    ):
        assert part in text, part
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="there is no such folder"):
        train(["data=folder", f"data.root={tmp_path / 'nowhere'}", f"paths.runs={tmp_path / 'runs'}"])
    assert not (tmp_path / "runs").exists()
    for name, words in {"folder": "data.root=~/photos", "csv": "labels.csv"}.items():
        with pytest.raises(UserError, match=r"data.root is needed") as wrong:
            train([f"data={name}"])
        assert words in str(wrong.value)


def test_a_search_for_near_duplicates_has_a_range_and_needs_the_files_decoded(digits: Path, tmp_path: Path) -> None:
    overrides = [*SMALL, f"data.root={digits}", f"paths.runs={tmp_path}", f"paths.data={tmp_path}"]
    for words, said in (
        (["data.near_duplicates=40"], "must be from 0 to 16"),
        (["data.near_duplicates=4", "data.check=quick"], "data.check=quick"),
        (["data.near_duplicates=few"], "data.near_duplicates"),
    ):
        with pytest.raises(UserError, match=said):
            train([*overrides, *words])
    assert not list(tmp_path.iterdir())
