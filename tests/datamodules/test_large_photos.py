"""Photos larger than training wants are decoded smaller, which changes the result by less than can be seen."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from datamodules.folder import Folder
from datamodules.randomness import generator
from datamodules.sources import jpeg, per_image
from settings.preprocessing import Preprocessing
from tests.datamodules.photos import write_jpegs

HOW = Preprocessing(image_size=64, resize=64, interpolation="bilinear", channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)
CROP = {"random_resized_crop": {"scale": [0.3, 1.0]}}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    write_jpegs(root, 8, width=640, height=420)
    return root


@pytest.fixture
def shrinks(monkeypatch):
    """How many times smaller each file was decoded."""
    found = []

    def decode(data, image, shrink):
        found.append(shrink)
        return plain(data, image, shrink)

    plain = jpeg.decode
    monkeypatch.setattr(jpeg, "decode", decode)
    return found


def reader(root, tmp_path, recipe, *, how=HOW, split="train", **own):
    data = Folder(root=root, data_dir=tmp_path, check="off", **own)
    data.prepare_data()
    data.configure(batch_size=8, preprocessing=how, recipe=recipe)
    data.setup("fit")
    return data._training_reader() if split == "train" else data._evaluation_reader(split)


@pytest.mark.parametrize(("recipe", "most"), [(CROP, 3.0), ({}, 1.0)])
def test_training_decodes_smaller_and_sees_nearly_the_same(recipe, most, photos, shrinks, tmp_path):
    chosen = torch.arange(8)
    exact = [reader(photos, tmp_path, recipe, scaled_decode=False)[(epoch, chosen)][0] for epoch in range(3)]
    assert set(shrinks) == {1}
    shrinks.clear()
    scaled = [reader(photos, tmp_path, recipe)[(epoch, chosen)][0] for epoch in range(3)]
    assert max(shrinks) == 2
    assert len(shrinks) == 24 and shrinks.count(2) > 12
    differences = [(one.float() - other.float()).abs().mean().item() for one, other in zip(exact, scaled, strict=True)]
    # Of 255 grey levels. A crop's place moves by up to a quarter of a pixel of the result.
    assert 0 < max(differences) < most, differences


def test_a_cache_decodes_smaller_for_training_where_files_may_be(photos, shrinks, tmp_path):
    chosen, exact = torch.arange(8), {}
    for split in ("train", "val"):
        exact[split] = reader(photos, tmp_path, CROP, split=split, scaled_decode=False)
    for own, split, expected in (
        ({"cache": tmp_path / "a", "scaled_decode": False}, "train", {1}),
        ({"cache": tmp_path / "b"}, "train", {2}),  # 420 pixels to 80; a quarter, 105, would not be twice of that
        ({"cache": tmp_path / "b"}, "val", {1}),
    ):
        shrinks.clear()
        read = reader(photos, tmp_path, CROP, split=split, **own)
        request = (0, chosen) if split == "train" else chosen[:2]
        images, _ = read[request]
        assert set(shrinks) == expected
        difference = (images.float() - exact[split][request][0].float()).abs().mean()
        assert difference < 6 if split == "train" else difference == 0  # the part is that of the whole picture


def test_the_part_is_the_one_that_was_drawn_from_the_whole(photos, shrinks, tmp_path, monkeypatch):
    """With a resize that takes the nearest pixel, a shifted part would differ by far more."""
    parts = []
    scaled = per_image._scaled
    monkeypatch.setattr(per_image, "_scaled", lambda *one: parts.append((one, scaled(*one))) or parts[-1][1])
    reader(photos, tmp_path, CROP)[(0, torch.arange(8))]
    assert parts
    for (part, whole, decoded), found in parts:
        shrink = whole[0] / decoded[0]
        assert 1.9 < shrink < 8.1
        for drawn, own in zip(part, found, strict=True):
            assert abs(drawn / shrink - own) <= 1.1
        assert found[0] + found[2] <= decoded[0] and found[1] + found[3] <= decoded[1]


def test_evaluation_and_the_nearest_pixel_decode_everything(photos, shrinks, tmp_path):
    reader(photos, tmp_path, CROP, split="val")[torch.arange(2)]
    nearest = Preprocessing(**{**HOW.to_dict(), "interpolation": "nearest"})
    for recipe in ({}, CROP):
        reader(photos, tmp_path, recipe, how=nearest)[(0, torch.arange(8))]
    assert set(shrinks) == {1}


@pytest.mark.parametrize("before", [{}, {"ToGray": {"p": 0.0}}])  # the crop is the first line, or not
@pytest.mark.parametrize(
    ("interpolation", "method"), [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)]
)
def test_parts_are_resized_as_evaluation_does(before, interpolation, method, photos, tmp_path):
    """The reference is Pillow, on the same parts."""
    how = Preprocessing(**{**HOW.to_dict(), "interpolation": interpolation})
    made = reader(photos, tmp_path, {**before, **CROP}, how=how, scaled_decode=False)
    for key, image in zip(made.source.keys, made[(0, torch.arange(8))][0], strict=True):
        draws = generator(made.seed, "image", 0, key)
        if before:
            torch.randint(2**32, (1,), generator=draws)  # the seed of its line
        photo = Image.open(made.source.folder / key)
        top, left, height, width = made.operations[-1].part(photo.height, photo.width, draws)
        part = photo.crop((left, top, left + width, top + height)).resize((64, 64), method)
        assert (image.int() - v2.functional.pil_to_tensor(part).int()).abs().max() <= 1


def test_resuming_sees_the_same_crops_whatever_the_worker(photos, tmp_path):
    one, two = (reader(photos, tmp_path, CROP) for _ in range(2))
    images, targets = one[(4, torch.arange(8))]
    for index in range(8):
        again, target = two[(4, torch.tensor([index]))]
        assert torch.equal(again[0], images[index]) and target == targets[index]
