"""Per-image operations against torchvision and albumentations themselves, at the same draw."""

import os

import albumentations
import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from datamodules.digits import Digits
from datamodules.image import build_image_recipe
from datamodules.image.random_resized_crop import RandomResizedCrop
from settings.errors import UserError

IMAGE = torch.arange(3 * 40 * 30, dtype=torch.int64).remainder(251).to(torch.uint8).view(3, 40, 30)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("shape", [(40, 30), (30, 200), (500, 8), (224, 224)])
@pytest.mark.parametrize("how", ["planes", "as decoded", "grey", "as decoded, on other processors"])
def test_parts_and_pixels_are_torchvisions(shape, how, interpolation, monkeypatch):
    channels = 1 if how == "grey" else 3
    image = torch.randint(256, (channels, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    if how.startswith("as decoded"):
        image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    if how.endswith("processors"):
        monkeypatch.setattr("datamodules.image.random_resized_crop.resizes_bytes", lambda: False)
    mode = v2.InterpolationMode(interpolation)
    for part in ((0, 0, *shape), (0, 0, 8, 8), (3, 2, 1, 5), (1, 0, 7, 1)):  # sizes as they are, and rows of one
        for size in (8, 24):
            expected = v2.functional.resized_crop(image.contiguous(), *part, [size, size], mode, antialias=True)
            assert torch.equal(RandomResizedCrop().cut(image, part, size, interpolation), expected)
    ours = RandomResizedCrop(scale=[0.2, 0.9])
    theirs = v2.RandomResizedCrop(24, (0.2, 0.9), interpolation=mode, antialias=True)
    for seed in range(30):
        torch.manual_seed(seed)
        expected = theirs(image)
        draws = torch.Generator().manual_seed(seed)
        assert torch.equal(ours(image, size=24, generator=draws, interpolation=interpolation), expected)


def test_the_centre_is_taken_as_often_as_p_says():
    centre = v2.functional.center_crop(IMAGE, [30, 30])
    for p, low, high in ((0.0, 0, 0), (1.0, 300, 300), (0.3, 65, 115)):
        crop, draws = RandomResizedCrop(p=p, scale=[0.1, 0.5]), torch.Generator().manual_seed(0)
        changed = sum(not torch.equal(crop(IMAGE, size=30, generator=draws), centre) for _ in range(300))
        assert low <= changed <= high


def test_a_line_of_albumentations_is_albumentations_own_at_the_same_seed():
    (line,) = build_image_recipe({"ColorJitter": {"brightness": [0.5, 1.5], "p": 1.0}})
    reference = albumentations.Compose([albumentations.ColorJitter(brightness=(0.5, 1.5), p=1.0)])
    for seed in range(5):
        draws = torch.Generator().manual_seed(seed)
        own = line(IMAGE, size=30, generator=draws)
        reference.set_random_seed(int(torch.randint(2**32, (1,), generator=torch.Generator().manual_seed(seed))))
        expected = reference(image=IMAGE.permute(1, 2, 0).contiguous().numpy())["image"]
        assert np.array_equal(own.permute(1, 2, 0).numpy(), expected)
        assert torch.equal(line(IMAGE, size=30, generator=torch.Generator().manual_seed(seed)), own)


@pytest.mark.parametrize("name", ["CLAHE", "FancyPCA", "GridDistortion"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_catalogues_rows_that_are_albumentations_take_grey_and_colour(name, channels):
    (line,) = build_image_recipe({name: {"p": 1.0}})
    image = IMAGE[:channels]
    own = line(image, size=30, generator=torch.Generator().manual_seed(0))
    assert (own.dtype, own.shape) == (torch.uint8, image.shape) and not torch.equal(own, image)
    reference = albumentations.Compose([getattr(albumentations, name)(p=1.0)])
    reference.set_random_seed(int(torch.randint(2**32, (1,), generator=torch.Generator().manual_seed(0))))
    expected = reference(image=image.permute(1, 2, 0).contiguous().numpy())["image"]
    assert np.array_equal(own.permute(1, 2, 0).numpy(), expected.reshape(40, 30, channels))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"GaussianBlurr": {}}, "unknown albumentations operation 'GaussianBlurr'; nearest: GaussianBlur"),
        ({"GaussianBlur": {"sigma_limits": 1}}, "unknown key augment.GaussianBlur.sigma_limits; nearest: sigma_limit"),
        ({"HorizontalFlip": {"p": 3.0}}, "augment.HorizontalFlip"),
        ({"random_resized_crop": {"scale": [0.5, 0.1]}}, "scale is two shares"),
        ({"random_resized_crop": {"scales": [0.5, 1]}}, "augment.random_resized_crop"),
    ],
)
def test_misspelt_and_impossible_lines_are_errors(recipe, message):
    with pytest.raises(UserError, match=message):
        build_image_recipe(recipe)


def test_lines_of_none_and_lines_for_batches_are_passed_over():
    assert build_image_recipe({"random_crop": {"padding": 0.1}, "HorizontalFlip": None}) == []


def test_arrays_can_be_augmented_image_by_image_and_repeat_by_epoch_and_key():
    def epochs(seed, workers=0):
        data = Digits()
        data.configure(seed=seed, num_workers=workers, recipe={"random_resized_crop": {}, "random_crop": {}})
        loader = data.train_dataloader()
        return [torch.cat([images for images, _ in loader]) for _ in range(2)]

    one, again, workers, other = epochs(0), epochs(0), epochs(0, 2), epochs(1)
    assert one[0].shape[1:] == (1, 8, 8)
    assert all(torch.equal(*pair) for pair in zip(one, again, strict=True))
    assert all(torch.equal(*pair) for pair in zip(one, workers, strict=True))
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], other[0])


def test_workers_augment_beside_the_process_that_trains(monkeypatch):
    """Each image is stamped with the number of the process that changed it."""

    def stamp(self, image, *, size, generator, interpolation="bilinear"):
        return torch.full_like(image, os.getpid() % 251)

    monkeypatch.setattr(RandomResizedCrop, "__call__", stamp)
    monkeypatch.setattr(RandomResizedCrop, "part", lambda self, height, width, draws: (0, 0, height, width))
    monkeypatch.setattr(RandomResizedCrop, "cut", lambda self, image, *how: torch.full_like(image, os.getpid() % 251))
    data = Digits()
    data.configure(num_workers=2, per_class=20, batch_size=50, recipe={"random_resized_crop": {}})
    stamps = {int(one) for images, _ in data.train_dataloader() for one in images.unique()}
    assert len(stamps) == 2 and os.getpid() % 251 not in stamps


def test_a_line_that_changes_the_size_is_refused():
    data = Digits()
    data.configure(recipe={"Resize": {"height": 5, "width": 6}})
    with pytest.raises(UserError, match=r"turn 8 x 8 pixels into 5 x 6"):
        next(iter(data.train_dataloader()))


def test_what_is_looked_at_shows_per_image_lines_and_leaves_the_original_alone():
    data = Digits()
    data.configure(recipe={"random_resized_crop": {"scale": [0.2, 0.5]}})
    data.setup()
    (original, _), (first, _), (second, _) = data.drawn_batches(torch.arange(6), draws=2)
    assert torch.equal(original, data.splits["train"][torch.arange(6)][0])
    assert not torch.equal(first, original)
    assert not torch.equal(first, second)
