"""Classes that are missing, extra, renamed or in another order: right labels, or a clear refusal."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.data_and_task import build_data, build_task
from settings.errors import UserError
from settings.reading.compose import compose
from train import train

NAMES = {"bee": 0, "cat": 1, "dog": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: Any) -> tuple[Path, Path, list[str], dict[str, float]]:
    """(run folder, its images, the words that made it, its metrics): three digits under other names."""
    from sklearn.datasets import load_digits

    base = tmp_path_factory.mktemp("classes")
    digits = load_digits()
    for name, label in NAMES.items():
        for number, image in enumerate(digits.images[digits.target == label][:90]):
            place = base / "photos" / ("train" if number < 60 else "val" if number < 70 else "test") / name
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15).astype(np.uint8)).save(place / f"{number}.png")
    words = [
        *("data=folder", "data.channels=1", "data.batch_size=16", "data.num_workers=0", "model=cnn"),
        *("model.widths=[4,4]", "callbacks=none", f"paths.runs={base}/runs", f"paths.data={base}"),
    ]
    # little training, so that some images are mistaken and a score says which rows are whose
    metrics = train([*words, f"data.root={base / 'photos'}", "trainer.max_epochs=1", "name=first"])
    (run,) = (base / "runs").glob("*/first")
    return run, base / "photos", words, metrics


def changed(photos: Path, place: Path, **names: str | None) -> Path:
    """A copy of the folder with other names of its classes; None leaves one out, a new one gets pictures of its own."""
    shutil.copytree(photos, place)
    for split in ("train", "val", "test"):
        for old, new in names.items():
            if old not in NAMES:
                shutil.copytree(place / split / "cat", place / split / old)
                for file in (place / split / old).iterdir():
                    Image.open(file).rotate(90).save(file)
            elif new is None:
                shutil.rmtree(place / split / old)
            else:
                (place / split / old).rename(place / split / new)
    return place


@pytest.mark.parametrize("change", [{"bee": "zebra"}, {"bee": None}, {"ant": "new"}])
def test_a_run_does_not_go_on_with_other_classes_whatever_is_allowed(
    change: dict[str, str | None], made: Any, tmp_path: Path
) -> None:
    run, photos, *_ = made
    root = changed(photos, tmp_path / "photos", **change)
    again = [f"data.root={root}", "trainer.max_epochs=3", "scheduler.restart=true"]
    for allow in ("[]", "[data.batch_size,data,model]"):
        with pytest.raises(UserError) as refused:
            train([f"resume={run}", *again, f"resume_allow={allow}"])
        text = str(refused.value)
        assert refused.value.exit_code == 2
        assert "tells 3 classes apart" in text and next(iter(change)) in text
        assert ("zebra" in text) == ("zebra" in change.values())


def test_a_head_goes_to_the_classes_of_the_same_names(made: Any, tmp_path: Path) -> None:
    run, photos, words, _ = made
    old = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]

    def built(root: Path) -> Any:
        config = compose([*words, f"data.root={root}", f"model.weights={run}", "transfer=full"])
        return build_task(config, *build_data(config)).net

    same = built(photos)
    assert all(torch.equal(value, old[f"net.{name}"]) for name, value in same.state_dict().items())
    assert not same.weights_report.by_class
    # ant, cat, dog, zebra: cat and dog move, two are new
    mixed = built(changed(photos, tmp_path / "mixed", bee="zebra", ant="new"))
    for part in ("weight", "bias"):
        head, before = mixed.state_dict()[f"head.{part}"], old[f"net.head.{part}"]
        assert len(head) == 4
        assert torch.equal(head[1], before[1]) and torch.equal(head[2], before[2])
        assert not any(torch.equal(head[row], before[0]) for row in (0, 3))
    line = mixed.weights_report.line()
    assert "by the names of its classes; new at random: class ant, zebra" in line
    # other classes altogether, as many: the head would tell the wrong things apart
    other = built(changed(photos, tmp_path / "other", bee="x", cat="y", dog="z"))
    assert not torch.equal(other.state_dict()["head.weight"], old["net.head.weight"])
    assert set(other.weights_report.fresh) == {"head.weight", "head.bias"}
