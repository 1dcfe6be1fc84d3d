"""Each image against torchvision's own RandAugment at the same draw, bit for bit."""

from unittest.mock import Mock

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import RandAugment as Reference

from datamodules.batch import build_recipe, kinds
from datamodules.batch.kinds import KINDS as ALL
from datamodules.batch.kinds import change_each, levels
from datamodules.batch.randaugment import CHOICES, LEVELS, RANGES, Draws, RandAugment, rand_augment
from settings.errors import UserError
from tests.datamodules.photos import photo_crops

ALL_NAMES = list(ALL)
KINDS = dict(list(ALL.items())[:CHOICES])
SPACE = Reference._AUGMENTATION_SPACE


def camel(name):
    return {"autocontrast": "AutoContrast"}.get(name, "".join(part.capitalize() for part in name.split("_")))


def pictures(n, channels, height, width):
    """Noise, gradients, flat and nearly flat pictures."""
    noise = torch.Generator().manual_seed(height * width + channels)
    images = torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=noise)
    images[1::4] = (torch.arange(width) * 255 // width).to(torch.uint8)
    images[2::4] = images[2::4] // 64 + 100
    images[3::8] = 255
    images[7::8] = 0
    return images


def reference(image, name, magnitude, negative):
    height, width = image.shape[-2:]
    levels, signed = SPACE[camel(name)]
    levels = levels(31, height, width)
    amount = 0.0 if levels is None else float(levels[magnitude])
    amount = -amount if signed and negative else amount
    apply = Reference()._apply_image_or_video_transform
    return apply(image, camel(name), amount, interpolation=InterpolationMode.NEAREST, fill={torch.Tensor: None})


def test_the_14_operations_are_torchvisions_in_its_order():
    assert [camel(name) for name in KINDS] == list(SPACE)
    assert [kind.signed for kind in KINDS.values()] == [signed for _, signed in SPACE.values()]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 9, 14), (1, 8, 8)])
def test_equals_torchvision_at_every_magnitude_and_sign(name, shape):
    images = pictures(16, *shape)
    operations = torch.full((1, 16), list(KINDS).index(name))
    negative = torch.arange(16)[None] % 3 == 0
    for magnitude in (0, 1, 9, 10, 15, 23, 30):
        out, _ = rand_augment(images, Draws(operations, negative), magnitude=magnitude)
        for index, image in enumerate(images):
            expected = reference(image, name, magnitude, bool(negative[0, index]))
            assert torch.equal(out[index], expected), (name, magnitude, index)


@pytest.mark.parametrize("shape", [(3, 128, 128), (1, 131, 160), (3, 224, 224)])
def test_large_images_one_by_one_equal_torchvision_at_every_operation_and_sign(shape, monkeypatch):
    monkeypatch.setattr(kinds, "change_large", spy := Mock(side_effect=kinds.change_large))
    images, photos = pictures(6, *shape), photo_crops(2, min(shape[1:]))
    images[4:, :, : photos.shape[-2], : photos.shape[-1]] = photos[:, : shape[0]]
    for name in KINDS:
        operations = torch.full((1, 6), list(KINDS).index(name))
        negative = torch.arange(6)[None] % 2 == 0
        for magnitude in (0, 2, 9, 30):  # at 2 solarize's threshold is whole in float32 alone
            out, _ = rand_augment(images, Draws(operations, negative), magnitude=magnitude)
            for index, image in enumerate(images):
                expected = reference(image, name, magnitude, bool(negative[0, index]))
                assert torch.equal(out[index], expected), (name, magnitude, index)
    assert spy.call_count == 6 * 4 * len(KINDS)
    out, _ = change_each(images, torch.full((1, 6), ALL_NAMES.index("invert")), torch.zeros(1, 6))
    assert torch.equal(out, 255 - images)


def test_large_images_are_changed_the_same_with_and_without_maps_and_with_masks():
    images = pictures(20, 3, 130, 128)
    images = images.to(memory_format=torch.channels_last)
    operation, masks = RandAugment(num_ops=4), torch.zeros(20, 130, 128, dtype=torch.int64)
    draws = operation.draw(20, torch.Generator().manual_seed(3))
    strengths = levels(RANGES, LEVELS, 130, 128)[:, 9][draws.operations]
    one, two, three = (
        change_each(images, draws.operations, strengths, **how)[0] for how in ({"mapped": True}, {}, {"masks": masks})
    )
    assert torch.equal(one, two) and torch.equal(one, three) and not torch.equal(one, images)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mixed_batch_equals_torchvision_image_by_image(channels):
    images = pictures(120, channels, 20, 16)
    operation = RandAugment(num_ops=3, magnitude=12, p=0.8)
    draws = operation.draw(120, torch.Generator().manual_seed(4))
    assert len(draws.operations.unique()) == 14
    out, targets, _ = operation(images, torch.arange(120), generator=torch.Generator().manual_seed(4))
    assert torch.equal(targets, torch.arange(120))
    names = list(KINDS)
    for index, image in enumerate(images):
        for which, negative in zip(draws.operations[:, index].tolist(), draws.negative[:, index].tolist(), strict=True):
            image = reference(image, names[which], 12, negative)
        assert torch.equal(out[index], image), index


def test_operations_are_uniform_and_signs_fair():
    draws = RandAugment(num_ops=2).draw(14_000, torch.Generator().manual_seed(0))
    counts = draws.operations.flatten().bincount(minlength=14)
    # Chi-squared with 13 degrees of freedom is above 34.5 once in a thousand.
    assert ((counts - 2000.0) ** 2 / 2000).sum() < 34.5
    assert abs(draws.negative.float().mean() - 0.5) < 4 * 0.5 / 28_000**0.5
    pairs = draws.operations[0] * 14 + draws.operations[1]
    assert len(pairs.unique()) == 196  # rounds are independent


def test_the_rate_of_its_coin():
    draws = RandAugment(num_ops=1, p=0.3).draw(20_000, torch.Generator().manual_seed(0))
    expected = 0.3 * 13 / 14  # one of 14 is the identity
    rate = (draws.operations > 0).float().mean()
    assert abs(rate - expected) < 4 * (expected * (1 - expected) / 20_000) ** 0.5


def test_no_rounds_change_nothing():
    images = pictures(8, 3, 8, 8)
    out, _, _ = RandAugment(num_ops=0)(images, torch.zeros(8), generator=torch.Generator())
    assert torch.equal(out, images)


def test_masks_follow_geometric_operations_only():
    images = pictures(28, 1, 12, 12)[:, :1]
    images[:] = torch.arange(1, 145).view(12, 12).to(torch.uint8)
    masks = images[:, 0].long() + 1000
    operations = torch.arange(28)[None] % 14
    negative = torch.arange(28)[None] >= 14
    out, moved = rand_augment(images, Draws(operations, negative), magnitude=15, masks=masks)
    for index, kind in enumerate([*KINDS.values()] * 2):
        if not kind.geometric:
            assert torch.equal(moved[index], masks[index])
            continue
        inside = moved[index] != 255
        assert torch.equal(moved[index][inside], out[index, 0].long()[inside] + 1000)
        assert (out[index, 0][~inside] == 0).all()
        assert 0 < (~inside).sum() < 100


def test_no_operation_mirrors_an_image():
    """`data.forbid=[horizontal_flip]` would be broken by a mirroring inside RandAugment."""
    image = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    places = {60: (12, 12), 130: (12, 20), 250: (20, 12)}
    for level, (row, column) in places.items():
        image[0, 0, row - 2 : row + 3, column - 2 : column + 3] = level

    def turn(image):
        """Twice the signed area of the triangle of the three spots: a mirror changes its sign."""
        a, b, c = ((image == level).nonzero().double().mean(0) for level in places)
        return (b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]

    geometric = [index for index, kind in enumerate(KINDS.values()) if kind.geometric]
    operations = torch.tensor([geometric * 2])
    draws = Draws(operations, torch.arange(operations.numel())[None] >= len(geometric))
    out, _ = rand_augment(image.repeat(operations.numel(), 1, 1, 1), draws, magnitude=9)
    assert turn(image[0, 0]) * turn(image[0, 0].flip(-1)) < 0
    for one in out[:, 0]:
        assert turn(one) * turn(image[0, 0]) > 0


@pytest.mark.parametrize("arguments", [{"magnitude": 31}, {"magnitude": -1}, {"num_ops": -1}, {"p": 1.5}])
def test_impossible_values_are_refused(arguments):
    with pytest.raises(UserError, match="got"):
        build_recipe({"randaugment": arguments}, num_classes=3)
