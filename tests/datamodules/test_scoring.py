"""What is scored: each image once, classes by name, and which images a run was trained on."""

import pytest
import torch
from PIL import Image

from datamodules.digits import Digits
from datamodules.folder import Folder
from datamodules.scoring import ScoredImages, map_classes
from datamodules.transforms import fit_to
from settings.errors import UserError


def test_classes_are_mapped_by_name():
    known = ("T-shirt/top", "Coat", "coat_2", "10", "2")
    assert map_classes(known, known) == [0, 1, 2, 3, 4]
    assert map_classes(("coat", "t shirt_TOP", "Bag", "2"), known) == [1, 0, None, 4]
    assert map_classes(("Coat", "coat"), known) == [1, None]  # two classes of the data are not made one
    assert map_classes(("a-b",), ("a b", "a_b")) == [None]  # unclear


def fit(images):
    return images[:, None]


def digits():
    data = Digits()
    data.setup()
    return data


def test_each_image_comes_once_whatever_the_number_of_processes():
    data = digits()
    images = ScoredImages(data, ["val", "test"], places=range(10), channels=1, workers=0)
    whole = list(images.batches({"a": fit}, batch_size=50))
    assert torch.equal(torch.cat([one.indices for one in whole]), torch.arange(len(images)))
    expected = torch.cat([data.splits["val"].images, data.splits["test"].images])
    assert torch.equal(torch.cat([one.views["a"][:, 0] for one in whole]), expected)
    assert images.splits.count("test") == 359 and images.paths == images.keys
    parts = [list(images.batches({"a": fit}, batch_size=50, rank=rank, world=3)) for rank in range(3)]
    mixed = sorted((batch for part in parts for batch in part), key=lambda one: int(one.indices[0]))
    assert [one.indices.tolist() for one in mixed] == [one.indices.tolist() for one in whole]
    chosen = torch.tensor([0, 100, len(images) - 1])
    some = list(images.batches({"a": fit}, batch_size=2, chosen=chosen))
    assert torch.equal(torch.cat([one.indices for one in some]), chosen)
    assert torch.equal(images.pictures(fit, [100, 0, 100]), expected[[100, 0, 100]])


def test_classes_without_a_place_are_left_out():
    data = digits()
    places = [None, None, *range(8)]
    images = ScoredImages(data, ["test"], places=places, channels=1, workers=0)
    kept = data.splits["test"].targets >= 2
    assert torch.equal(images.targets, data.splits["test"].targets[kept] - 2)
    assert images.left_out == int((~kept).sum())
    with pytest.raises(UserError, match=r"split=vall: there are no such images; there is train, val, test, all"):
        ScoredImages(data, ["vall"], places=range(10), channels=1, workers=0)
    with pytest.raises(UserError, match="no image is left"):
        ScoredImages(data, ["test"], places=[None] * 10, channels=1, workers=0)


def write(path, shade):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (20, 12), shade)
    image.putpixel((shade % 20, shade % 12), 255 - shade)
    image.save(path)


def test_files_are_read_and_found_again_by_name_or_content(tmp_path):
    for number in range(6):
        write(tmp_path / "old" / "cat" / f"{number}.png", 10 * number)
        write(tmp_path / "new" / "test" / "dog" / f"{number}.png", 10 * number + 5)
    write(tmp_path / "new" / "test" / "dog" / "copy.png", 30)  # old/cat/3.png under another name
    data = Folder(root=tmp_path / "new" / "test", channels=1, data_dir=tmp_path)
    data.for_scoring = True  # one class is enough
    data.prepare_data()
    data.setup()
    images = ScoredImages(data, list(data.splits), places=[1], channels=1, workers=0)
    assert len(images) == 7 and images.targets.tolist() == [1] * 7
    assert all(path.startswith(str(tmp_path / "new" / "test" / "dog")) for path in images.paths)
    data.preprocessing = data.effective_preprocessing

    def cut(batch):
        return fit_to(batch, data.effective_preprocessing)[:, None]

    plain = images.pictures(cut, range(7))
    assert plain.shape == (7, 1, 12, 12)
    images.workers = 2
    assert torch.equal(images.pictures(cut, range(7)), plain)
    trained = [f"cat/{number}.png" for number in range(6)]
    found = images.found_in(trained, folder=tmp_path / "old", same_data=False)
    assert [images.keys[index] for index in found] == ["dog/copy.png"]
    assert images.found_in(["dog/1.png", "cat/1.png"], folder=None, same_data=True) == [images.keys.index("dog/1.png")]
    assert images.found_in(trained, folder=tmp_path / "gone", same_data=False) == []
