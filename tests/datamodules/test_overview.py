"""What is said of a data set: a folder of real scans with planted faults, and data in memory."""

import shutil

import torch
from PIL import Image
from sklearn.datasets import load_digits

from datamodules.digits import Digits
from datamodules.folder import Folder
from datamodules.overview import overview, sample


def folder_with_faults(root):
    digits = load_digits()
    for split, start in (("train", 0), ("val", 120), ("test", 160)):
        for index in range(start, start + (40 if start else 120)):
            if split == "train" and digits.target[index] == 1 and index > 30:
                continue  # fewer ones
            place = root / split / str(digits.target[index] % 2) / f"{index:03d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray((digits.images[index] * 15).astype("uint8"))
            image.resize((8 + 8 * (index % 3), 24)).save(place)
    first = root / "train/0/000.png"
    shutil.copy(first, root / "train/0/same.png")
    shutil.copy(first, root / "test/0/leaked.png")
    shutil.copy(root / "train/1/003.png", root / "train/0/contradicted.png")
    (root / "train/1/broken.png").write_bytes(first.read_bytes()[:60])
    (root / "train/1/phone.heic").write_bytes(b"no image of ours")


def test_a_folder_with_planted_faults(tmp_path):
    folder_with_faults(tmp_path / "scans")
    data = Folder(root=tmp_path / "scans", data_dir=tmp_path / "data")
    data.prepare_data()
    data.setup()
    facts = overview(data)
    counted = {split: len(list((tmp_path / "scans" / split).rglob("*.png"))) for split in ("train", "val", "test")}
    counted["train"] -= 1  # the broken one
    assert facts.images == counted
    ones = len(list((tmp_path / "scans/train/1").glob("[0-9]*.png")))
    assert facts.classes == {"0": counted["train"] - ones, "1": ones}
    assert facts.imbalance == (counted["train"] - ones) / ones
    assert facts.sides == {"short": [8, 16, 24], "long": [24, 24, 24]} and facts.shapes == 3
    assert sorted(key for keys in facts.unreadable.values() for key in keys) == [
        "train/1/broken.png",
        "train/1/phone.heic",
    ]
    assert facts.copies == 3
    assert facts.across == [["train train/0/000.png", "train train/0/same.png", "test test/0/leaked.png"]]
    assert facts.contradictions == [["train train/0/contradicted.png", "train train/1/003.png"]]
    text = "\n".join(facts.lines())
    for part in ("phone.heic", "leaked.png", "contradicted.png", "3 copies", "short side 8 / 16 / 24"):
        assert part in text


def test_digits_in_memory():
    data = Digits()
    data.setup()
    facts = overview(data)
    assert sum(facts.images.values()) == facts.measured == 1797 and len(facts.classes) == 10
    assert (facts.copies, facts.across, facts.unreadable, facts.shapes) == (0, [], {}, 1)
    assert facts.sides == {"short": [8, 8, 8], "long": [8, 8, 8]}
    data.splits["test"].images[5] = data.splits["train"].images[7]
    planted = overview(data)
    train, test = data.splits["train"].keys[7], data.splits["test"].keys[5]
    assert planted.across == [[f"train {train}", f"test {test}"]]


def test_a_sample_has_of_each_class_about_as_many():
    targets = torch.tensor([0] * 500 + [1] * 300 + [2] * 3)
    keys = [f"{index}.png" for index in range(803)]
    chosen = sample(targets, keys, 60)
    assert targets[chosen].bincount().tolist() == [20, 20, 3]
    assert len(set(chosen.tolist())) == 43
    assert torch.equal(chosen, sample(targets, keys, 60))
    assert sample(targets, keys, 2).numel() == 6
