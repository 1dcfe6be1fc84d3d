"""Files that cannot be read when their turn comes: skipped and named, within a budget; no process dies of them."""

import csv
import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from datamodules.folder import Folder
from datamodules.sources.pictures import REASONS, Refused, read_picture
from engine.process_group import ProcessFailed
from models import load_run
from settings.errors import UserError
from settings.preprocessing import Preprocessing
from train import train

SIZE = Preprocessing(image_size=16, resize=16, interpolation="bilinear", channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


def pictures(folder: Path, count: int, shade: int = 90) -> None:
    """Good pictures with some noise, dark or light by class."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.effect_noise((20, 20), 30 + number % 9).point(lambda value: (value + shade) // 2).save(
            folder / f"good {number}.png"
        )


def opened(root: Path, tmp_path: Path, *, preprocessing: Preprocessing = SIZE, **own: Any) -> Folder:
    data = Folder(root=root, data_dir=tmp_path, check="off", **own)
    data.prepare_data()
    data.configure(batch_size=20, num_workers=2, preprocessing=preprocessing)
    data.setup("fit")
    return data


def is_readable(path: Path) -> bool:
    """By Pillow alone, whatever it raises."""
    try:
        with Image.open(path) as image:
            image.load()
    except Exception:
        return False
    return True


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own, of what `is_readable` reads all the same
def test_mutated_files_are_read_or_skipped_and_no_worker_dies(count: int, mutate: Any, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for split in ("train", "test"):
        names = mutate(root / split / "a", count)
        pictures(root / split / "b", 20)
    pictures(root / "val" / "a", 3)
    data = opened(root, tmp_path, max_bad_files=0.95)
    reference = {name for name in names if not is_readable(root / "test" / "a" / name)}
    assert count // 4 < len(reference) < count
    targets = torch.cat([targets for _, targets in data.test_dataloader()])
    skipped, good = int((targets == -1).sum()), int((targets == 0).sum())
    assert skipped + good == count and int((targets == 1).sum()) == 20
    found = data.bad_files()
    assert len(found) == skipped == data.bad_file_count()
    assert {Path(key).name for key in found} == reference
    assert set(found.values()) <= set(REASONS)
    batches = list(data.train_dataloader())
    assert len(batches) == (count + 20) // 20
    assert all(images.shape == (20, 3, 16, 16) and targets.min() >= 0 for images, targets in batches)
    assert {Path(key).name for key in data.bad_files() if key.startswith("train")} == reference


def test_a_decompression_bomb_is_refused_by_its_size_before_it_is_decoded(bombs: Any, tmp_path: Path) -> None:
    pictures(tmp_path / "x" / "a", 9)
    pictures(tmp_path / "x" / "b", 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, data in bombs.items():
        (tmp_path / "x" / "a" / name).write_bytes(data)
        with pytest.raises(Refused, match="more than 100 megapixels"):
            read_picture(tmp_path / "x" / "a" / name, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB; decoded it would be 2.5 GB
    loaded = opened(tmp_path / "x", tmp_path)
    for loader in (loaded.train_dataloader(), loaded.val_dataloader(), loaded.test_dataloader()):
        list(loader)
    named = {f"a/{name}" for name in bombs}
    assert loaded.bad_files() == dict.fromkeys(named, "more than 100 megapixels")


def test_a_picture_that_resizing_would_make_huge_is_skipped(tmp_path: Path) -> None:
    for name in "ab":
        pictures(tmp_path / "x" / "train" / name, 9)
        pictures(tmp_path / "x" / "test" / name, 9)
    Image.new("L", (2, 9000)).save(tmp_path / "x" / "test" / "a" / "line.png")
    large = Preprocessing(**{**SIZE.to_dict(), "image_size": 224, "resize": 256})
    data = opened(tmp_path / "x", tmp_path, preprocessing=large)
    assert sum(int((targets == -1).sum()) for _, targets in data.test_dataloader()) == 1
    assert data.bad_files() == {"test/a/line.png": "too narrow"}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return [
        *("data=folder", f"data.root={tmp_path / 'photos'}", "data.channels=1", "data.batch_size=16", "model=cnn"),
        *("model.widths=[4,4]", "trainer.max_epochs=2", "callbacks=none", "data.check=off", "name=x"),
        *(f"paths.runs={tmp_path / 'runs'}", f"paths.data={tmp_path}"),
    ]


def kept(tmp_path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The summary and the bad files of the run."""
    (folder,) = (tmp_path / "runs").glob("*/x")
    rows = list(csv.reader((folder / "bad_files.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["file", "reason"]
    return json.loads((folder / "summary.json").read_text()), dict(rows[1:])


def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for split, count in (("train", 40), ("val", 12), ("test", 12)):
        pictures(root / split / "a", count, shade=40)
        pictures(root / split / "b", count, shade=200)
    return root


def cut(root: Path, *names: str) -> None:
    for name in names:
        (root / name).write_bytes((root / name).read_bytes()[:90])


def test_a_run_skips_them_names_them_and_scores_the_others(words: list[str], tmp_path: Path, capsys: Any) -> None:
    root = photos(tmp_path)
    bad = ["test/a/good 0.png", "test/b/good 5.png", "val/a/good 3.png", "train/a/good 7.png", "train/b/good 1.png"]
    cut(root, *bad)
    metrics = train(words)
    summary, named = kept(tmp_path)
    assert named == dict.fromkeys(bad, "damaged")
    assert (summary["status"], summary["exit_code"]) == ("finished", 0)
    said = capsys.readouterr().out
    assert "cannot be read" in said and "22 images) of epoch" in said
    found = load_run(next((tmp_path / "runs").glob("*/x")))
    for name in bad:
        (root / name).unlink()
    clean = opened(root, tmp_path, preprocessing=found.preprocessing, channels=1)
    images, targets = (torch.cat(parts) for parts in zip(*clean.test_dataloader(), strict=True))
    images, targets = clean.evaluation_batch((images, targets))
    with torch.no_grad():
        logits = found.net(images)
    assert len(targets) == 22
    assert metrics["test/accuracy"] == (logits.argmax(dim=1) == targets).sum().item() / 22
    assert metrics["test/loss"] == pytest.approx(cross_entropy(logits, targets).item(), abs=1e-6)


@pytest.mark.parametrize("check", ["off", "full"])
def test_more_of_them_than_allowed_end_the_run_with_code_3(
    check: str, words: list[str], tmp_path: Path, capsys: Any
) -> None:
    root = photos(tmp_path)
    cut(root, *(f"{split}/a/good {number}.png" for split in ("train", "val") for number in range(9)))
    words = [*words, f"data.check={check}", "data.max_bad_files=0.1"]
    with pytest.raises(UserError) as ended:
        train(words)
    assert ended.value.exit_code == 3
    assert "of 128 files cannot be read, and data.max_bad_files=0.1 allows 12: " in str(ended.value)
    summary, named = kept(tmp_path)
    assert (summary["status"], summary["exit_code"]) == ("failed", 3)
    assert 12 < len(named) <= 18 and set(named.values()) == {"damaged"}
    metrics = train([*words[:-1], "data.max_bad_files=18", "resume=auto"])  # the same line, with a larger budget
    assert "test/accuracy" in metrics
    assert len(kept(tmp_path)[1]) == 18


@pytest.mark.slow
def test_a_split_of_which_nothing_can_be_read_is_no_result(words: list[str], tmp_path: Path) -> None:
    root = photos(tmp_path)
    cut(root, *(f"test/{name}/good {number}.png" for number in range(12) for name in "ab"))
    with pytest.raises(UserError, match="test: none of its images could be read"):
        train([*words, "data.max_bad_files=100"])
    assert kept(tmp_path)[0]["exit_code"] == 2
    cut(root, *(f"{split}/{name}/good {number}.png" for split in ("train",) for number in range(40) for name in "ab"))
    for check in ("off", "full"):
        with pytest.raises(UserError, match=r"be read|readable") as ended:
            train([*words, f"data.check={check}", "data.max_bad_files=0.9", f"name={check}"])
        assert ended.value.exit_code in (2, 3)


@pytest.mark.slow
def test_the_budget_is_a_count_or_a_share(words: list[str], tmp_path: Path) -> None:
    for wrong in ("-1", "1.5", "1.0", "many", "true"):
        with pytest.raises(UserError, match=r"data\.max_bad_files"):
            train([*words, f"data.max_bad_files={wrong}"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_processes_bring_together_what_each_of_them_met(words: list[str], tmp_path: Path) -> None:
    root = photos(tmp_path)
    bad = [f"{split}/{name}/good {n}.png" for split in ("train", "val", "test") for n in (1, 2, 6) for name in "ab"]
    cut(root, *bad)
    pair = [*words, "trainer.devices=2", "data.num_workers=1"]
    metrics = train(pair)
    summary, named = kept(tmp_path)
    assert named == dict.fromkeys(bad, "damaged")
    assert summary["world_size"] == 2
    hits = metrics["test/accuracy"] * 18  # of 24 images, six of which are bad
    assert hits == pytest.approx(round(hits), abs=1e-9)
    with pytest.raises((UserError, ProcessFailed)) as ended:
        train([*pair, "name=y", "data.max_bad_files=5"])
    assert ended.value.exit_code == 3
    (folder,) = (tmp_path / "runs").glob("*/y")
    assert json.loads((folder / "summary.json").read_text())["exit_code"] == 3
    assert "test/accuracy" in train([*words, "name=z"])  # nothing of the pair stays behind in this process
