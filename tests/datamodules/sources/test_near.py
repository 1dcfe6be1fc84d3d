"""Pictures that look alike: the hash against ImageHash's, copies found, other pictures not, and what a user sees."""

import csv
import io
import time

import imagehash
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from datamodules.folder import Folder
from datamodules.sources.near import FLAT, near_pairs, perceptual_hash


@pytest.fixture(scope="module")
def crops():
    """Pieces of two photographs, none of which overlap, and none of plain sky."""
    found = []
    for photo in load_sample_images().images:  # (427, 640, 3)
        for top in range(0, 427 - 80, 80):
            for left in range(0, 640 - 100, 106):
                piece = photo[top : top + 80, left : left + 100]
                if piece.mean(axis=2).std() > 15:
                    found.append(Image.fromarray(piece))
    return found


def hashed(image):
    return perceptual_hash(torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1))


def jpeg(image, quality):
    written = io.BytesIO()
    image.save(written, "JPEG", quality=quality)
    return Image.open(written)


COPIES = {
    "JPEG 80": lambda image: jpeg(image, 80),
    "JPEG 60": lambda image: jpeg(image, 60),
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "larger": lambda image: image.resize((int(image.width * 1.7), int(image.height * 1.7)), Image.Resampling.BICUBIC),
    "brighter": lambda image: image.point(lambda value: min(255, int(value * 1.05) + 6)),
}


def test_hashes_are_those_of_imagehash(crops, clothes):
    pictures = [*crops, *clothes["1"][:40], *clothes["10"][:40]]
    assert [hashed(picture) for picture in pictures] == [str(imagehash.phash(picture)) for picture in pictures]


def test_copies_are_found_and_other_pictures_are_not(crops, clothes):
    for pictures, least, most in ((crops, 0.97, 0), (clothes["10"][:60], 0.85, 8)):
        own = [hashed(picture) for picture in pictures]
        for name, change in COPIES.items():
            copies = [hashed(change(picture)) for picture in pictures]
            splits = ["train"] * len(own) + ["test"] * len(own)
            count, pairs = near_pairs(own + copies, splits, most=4)
            found = {(one, other - len(own)) for _, one, other in pairs}
            assert count == len(pairs)
            true = sum(one == other for one, other in found)
            assert true >= least * len(own), (name, true)
            # clothes of 28 pixels: some bags are truly alike, and then with every copy of each other
            others = {tuple(sorted(pair)) for pair in found if pair[0] != pair[1]}
            assert len(others) <= most, (name, others)


def test_pairs_are_those_of_a_count_by_hand_and_of_different_splits_only():
    draws = np.random.default_rng(0)
    few = draws.integers(0, 2, (40, 64))
    bits = few[draws.integers(0, 40, 700)] ^ (draws.random((700, 64)) < 0.02)
    hashes = [np.packbits(row).tobytes().hex() for row in bits]
    hashes[5] = hashes[6] = FLAT
    hashes[7] = ""
    splits = draws.choice(["train", "val", "test"], 700, p=[0.6, 0.2, 0.2]).tolist()
    for most in (0, 3):
        expected = {
            (int((bits[i] != bits[j]).sum()), frozenset((i, j)))
            for i in range(700)
            for j in range(i)
            if splits[i] != splits[j] and not {i, j} & {5, 6, 7} and (bits[i] != bits[j]).sum() <= most
        }
        count, pairs = near_pairs(hashes, splits, most=most)
        assert count == len(pairs) == len(expected) > 0
        assert {(distance, frozenset((i, j))) for distance, i, j in pairs} == expected
        assert [one.distance for one in pairs] == sorted(one.distance for one in pairs)


def test_pictures_of_one_tone_have_no_hash():
    assert hashed(Image.new("RGB", (50, 40), (12, 200, 90))) == FLAT


def test_ten_thousand_pictures_take_no_time_and_little_room(monkeypatch):
    monkeypatch.setattr("datamodules.sources.near.BLOCK", 100_000)
    monkeypatch.setattr("datamodules.sources.near.MOST_PAIRS", 50)
    draws = np.random.default_rng(0).integers(0, 256, (10_000, 8), dtype=np.uint8)
    draws[8000:8100] = draws[:100]
    hashes = [row.tobytes().hex() for row in draws]
    start = time.process_time()
    count, pairs = near_pairs(hashes, ["train"] * 8000 + ["test"] * 2000, most=4)
    assert time.process_time() - start < 5
    assert (count, len(pairs)) == (100, 50)
    assert pairs == [(0, index, index + 8000) for index in range(50)]


def test_a_folder_names_them_lists_them_and_remembers_the_hashes(crops, tmp_path, capsys, monkeypatch):
    root = tmp_path / "photos"
    for number, crop in enumerate(crops[:40]):
        place = root / ("train" if number < 26 else "val" if number < 32 else "test") / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        crop.save(place / f"{number}.png")
    crops[3].resize((70, 60)).save(root / "test" / "b" / "again.jpg", quality=85)
    crops[4].save(root / "train" / "a" / "in the same split.jpg", quality=85)

    def said(**own):
        data = Folder(root=root, data_dir=tmp_path, **own)
        data.configure(val_fraction=0.1)
        data.setup("fit")
        return capsys.readouterr().out

    assert "look alike" not in said()
    text = said(near_duplicates=4)  # decodes again, for their looks
    (line,) = (one for one in text.splitlines() if "look alike" in one)
    assert line.startswith("pictures of different splits that look alike, 1 in all: ")
    assert "train/b/3.png ~ test test/b/again.jpg" in line
    (table,) = (tmp_path / "checked").glob("*-near-duplicates.csv")
    rows = list(csv.reader(table.read_text().splitlines()))
    assert len(rows) == 2 and rows[1][2:] == ["train/b/3.png", "test", "test/b/again.jpg"]

    def never(*arguments):
        raise AssertionError("looked again")

    monkeypatch.setattr("datamodules.sources.checking.read_picture", never)
    assert said(near_duplicates=4) == text
