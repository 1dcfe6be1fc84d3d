"""Scenes against a slow reference that looks at one pixel after another; needs Debian's dataset-fashion-mnist."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from datamodules import fashion_scenes
from datamodules.fashion_mnist import DEBIAN_FOLDER, FashionMNIST
from datamodules.fashion_scenes import FIRST_TEN, FashionScenes, Scenes, draw, make, photographs, silhouettes
from settings.errors import UserError

installed = pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed")
FEW = {"train": 40, "val": 12, "test": 25}


@pytest.fixture(scope="module")
def clothes():
    if not DEBIAN_FOLDER.is_dir():
        pytest.skip("dataset-fashion-mnist is not installed")
    return FashionMNIST(root=DEBIAN_FOLDER).sources()


@pytest.fixture(scope="module")
def few(clothes) -> dict[str, Scenes]:
    return make(clothes, colour=False, counts=FEW)


def parts(where: set[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """Sets of pixels that hang together by their edges."""
    left, found = set(where), []
    while left:
        part, queue = set(), [left.pop()]
        while queue:
            y, x = queue.pop()
            part.add((y, x))
            for place in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if place in left:
                    left.remove(place)
                    queue.append(place)
        found.append(part)
    return found


def silhouette(pixels: np.ndarray) -> np.ndarray:
    """The object in one picture, by its definition."""
    height, width = pixels.shape
    rim = {(y, x) for y in range(-1, height + 1) for x in range(-1, width + 1)}
    dark = {(y, x) for y, x in rim if not (0 <= y < height and 0 <= x < width) or pixels[y, x] == 0}
    (outside,) = (part for part in parts(dark) if (-1, -1) in part)
    pieces = parts(rim - outside)
    largest = max(map(len, pieces))
    found = np.zeros(pixels.shape, bool)
    for piece in pieces:
        if len(piece) >= 0.15 * largest:
            found[tuple(zip(*piece, strict=True))] = True
    return found


def objects_of(clothes, split):
    source = clothes["test" if split == "test" else "train"]
    start, end = {"train": (0, 55_000), "val": (55_000, 60_000), "test": (0, 10_000)}[split]
    return source.images[start:end, 0].numpy(), source.targets[start:end].numpy()


@pytest.mark.parametrize("split", FEW)
def test_every_pixel_is_what_a_slow_reference_says(clothes, few, split):
    pixels, labels = objects_of(clothes, split)
    whole = [np.asarray(image, float).mean(axis=2).round() for image in load_sample_images().images]
    sizes = [(427, 160)] * 2 if split == "test" else [(427, 480)] * 2
    scenes, has_lost_one = few[split], False
    for scene in range(FEW[split]):
        one = draw(split, scene, objects=len(pixels), sizes=sizes)
        top, left = one.crop
        left += 480 if split == "test" else 0
        image = whole[one.photograph][top : top + 64, left : left + 64].copy()
        mask, instances = np.zeros((64, 64), int), np.zeros((64, 64), int)
        for number, (index, (top, left)) in enumerate(zip(one.objects, one.places, strict=True), start=1):
            shape = silhouette(pixels[index])
            for y in range(28):
                for x in range(28):
                    if shape[y, x]:
                        image[top + y, left + x] = pixels[index][y, x]
                        mask[top + y, left + x] = 1 + labels[index]
                        instances[top + y, left + x] = number
        assert np.array_equal(scenes.images[scene, 0], image)
        assert np.array_equal(scenes.masks[scene], mask)
        assert np.array_equal(scenes.instances[scene], instances)
        present = set()
        for number in range(3):
            label = labels[one.objects[number]] if number < len(one.objects) else -1
            rows, columns = (instances == number + 1).nonzero()
            box = [0, 0, 0, 0]
            if len(rows) >= 20:
                box = [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
                present.add(int(label))
            assert scenes.labels[scene, number] == label
            assert scenes.boxes[scene, number].tolist() == box
        assert set(scenes.present[scene].nonzero()[0].tolist()) == present
        has_lost_one |= len(present) < len(one.objects)
    assert has_lost_one  # two of a class, or one hidden


def test_silhouettes_fill_holes_and_leave_specks_out():
    pixels = np.zeros((2, 28, 28), np.uint8)
    pixels[0, 2:12, 2:12] = 9  # 100 pixels with a hole
    pixels[0, 4:7, 5:7] = 0
    pixels[0, 20, 0:15] = 1  # 15: just large enough
    pixels[0, 24, 0:14] = 1  # 14: a speck
    pixels[1, 0, :] = 7  # at the border, which is no hole's edge
    expected = np.zeros((2, 28, 28), bool)
    expected[0, 2:12, 2:12] = expected[0, 20, 0:15] = expected[1, 0] = True
    assert np.array_equal(silhouettes(pixels), expected)


def test_an_object_of_which_little_is_seen_has_no_box(monkeypatch):
    square = np.zeros((3, 28, 28), np.uint8)
    square[:, 4:24, 4:24] = 200
    ground = [np.zeros((1, 64, 64), np.uint8)]
    # The first one shows 19 pixels, the second 20.
    square[0, 4:24, 4:24] = 0
    square[0, 4:23, 4] = 5
    square[1, 4:24, 4:24] = 0
    square[1, 4:24, 4] = 5
    one = fashion_scenes.Draw(
        photograph=0, crop=(0, 0), objects=(0, 1), places=((0, 0), (30, 30)), tints=np.ones((3, 3))
    )
    monkeypatch.setattr(fashion_scenes, "draw", lambda *_, **__: one)
    made = fashion_scenes.split_scenes("train", 1, pixels=square, labels=np.array([3, 7, 7]), photographs=ground)
    assert made.boxes[0].tolist() == [[0, 0, 0, 0], [34, 34, 35, 54], [0, 0, 0, 0]]
    assert made.labels[0].tolist() == [3, 7, -1]
    assert made.present[0].nonzero()[0].tolist() == [7]
    assert (made.masks[0] == 4).sum() == 19  # its pixels are labelled all the same


def test_photographs_of_test_and_train_are_apart():
    for colour in (False, True):
        for train, val, test, whole in zip(
            photographs("train", colour=colour),
            photographs("val", colour=colour),
            photographs("test", colour=colour),
            load_sample_images().images,
            strict=True,
        ):
            assert np.array_equal(train, val)
            together = np.concatenate((train, test), axis=2)
            pixels = whole.transpose(2, 0, 1) if colour else whole.astype(float).mean(axis=2)[None].round()
            assert np.array_equal(together, pixels)
            assert train.shape[2] == 3 * test.shape[2]


def test_objects_of_the_splits_are_apart(clothes, monkeypatch):
    given = {}
    monkeypatch.setattr(
        fashion_scenes, "split_scenes", lambda split, count, *, pixels, labels, **_: given.update({split: pixels})
    )
    make(clothes, colour=False)
    assert {split: len(pixels) for split, pixels in given.items()} == {"train": 55_000, "val": 5_000, "test": 10_000}
    everything = torch.cat((clothes["train"].images, clothes["test"].images))[:, 0].numpy()
    assert np.array_equal(np.concatenate([given[split] for split in ("train", "val", "test")]), everything)


@installed
def test_a_scene_is_the_same_whatever_the_count(clothes, few):
    fewer = make(clothes, colour=False, counts={"train": 12})["train"]
    for name, array in fewer.arrays().items():
        assert np.array_equal(array, few["train"].arrays()[name][:12])
    assert not np.array_equal(few["train"].images[:12], few["val"].images)


def test_they_are_the_recorded_scenes(clothes, few):
    assert few["train"].first_ten() == FIRST_TEN[False] == "7aa95adc2034006a2f9c2a9d839d8243"
    coloured = make(clothes, colour=True, counts={"train": 10})["train"]
    assert coloured.first_ten() == FIRST_TEN[True] == "49304d44ea0b8ca648d91b949b4a4f19"
    assert coloured.images.shape == (10, 3, 64, 64)
    for name in ("instances", "labels", "boxes"):  # the same scenes in other colours
        assert np.array_equal(getattr(coloured, name), getattr(few["train"], name)[:10])
    changed = replace(few["train"], labels=few["train"].labels + 1)
    assert changed.first_ten() != FIRST_TEN[False]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(fashion_scenes, "COUNTS", FEW)


@installed
def test_they_are_made_once_and_kept_whole(tmp_path, small, few, capsys, monkeypatch):
    data = FashionScenes(root=DEBIAN_FOLDER, data_dir=tmp_path)
    data.prepare_data()
    assert "making 77 scenes" in capsys.readouterr().out
    (file,) = tmp_path.rglob("*.*")
    assert file == tmp_path / "fashion_scenes" / f"{FIRST_TEN[False]}.npz"
    with monkeypatch.context() as patched:
        patched.setattr(FashionScenes, "_made", None)  # not again
        data.prepare_data()
        sources = data.sources()
    for split, source in sources.items():
        assert np.array_equal(source.images.numpy(), few[split].images)
        assert np.array_equal(source.targets.numpy(), few[split].masks)
        assert source.keys[-1] == f"{split}/{FEW[split] - 1:05d}"
    file.write_bytes(file.read_bytes()[:-1000])
    data.prepare_data()
    assert "making" in capsys.readouterr().out
    assert np.array_equal(data.sources()["test"].targets.numpy(), few["test"].masks)


@installed
def test_targets_counts_and_class_names(tmp_path, small, few):
    data = FashionScenes(root=DEBIAN_FOLDER, data_dir=tmp_path, count=7)
    data.prepare_data()
    masks = data.sources()
    assert [len(source) for source in masks.values()] == [7, 12, 25]
    assert masks["train"].targets.dtype == torch.uint8
    assert data.class_names[0] == "background"
    assert len(data.class_names) == 11
    data.target = "multilabels"
    sets = data.sources()["test"]
    assert data.class_names == FashionMNIST.class_names
    assert sets.targets.dtype == torch.float32
    assert np.array_equal(sets.targets.numpy(), few["test"].present)
    data.setup()
    assert len(data.splits["val"]) == 12  # its own, none cut off


@installed
def test_other_scenes_are_said_and_not_kept(tmp_path, small, monkeypatch):
    monkeypatch.setitem(FIRST_TEN, False, "0" * 32)
    data = FashionScenes(root=DEBIAN_FOLDER, data_dir=tmp_path)
    data.prepare_data()
    assert not list(tmp_path.iterdir())
    with pytest.warns(UserWarning, match="other scenes than the recorded ones"):
        assert len(data.sources()["train"]) == 40


@installed
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, small):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match=r"paths\.data=.*data: cannot be written to"):
        FashionScenes(root=DEBIAN_FOLDER, data_dir=tmp_path / "data").prepare_data()


@installed
def test_shares_of_classes_and_statistics(clothes):
    for colour in (False, True):
        scenes = make(clothes, colour=colour, counts={"train": 1500})["train"]
        data = FashionScenes(colour=colour)
        pixels = scenes.images / 255
        assert data.channels == pixels.shape[1]
        assert pixels.mean(axis=(0, 2, 3)) == pytest.approx(data.mean, abs=0.01)
        assert pixels.std(axis=(0, 2, 3)) == pytest.approx(data.std, abs=0.01)
    assert np.bincount((scenes.labels >= 0).sum(axis=1), minlength=4)[1:] / 1500 == pytest.approx(1 / 3, abs=0.05)
    assert np.bincount(scenes.labels[scenes.labels >= 0]) / (scenes.labels >= 0).sum() == pytest.approx(0.1, abs=0.02)
    assert (scenes.masks > 0).mean() == pytest.approx(0.165, abs=0.01)
    assert (scenes.present.sum(axis=1) >= 1).all()
