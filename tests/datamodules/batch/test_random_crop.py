import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from datamodules.batch import build_recipe
from datamodules.batch import random_crop as module
from datamodules.batch.random_crop import RandomCrop, Shifts, crop
from settings.errors import UserError


def noise(n=60, channels=3, height=16, width=24):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def test_by_hand():
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    down_right = Shifts(torch.tensor([1]), torch.tensor([1]))
    up = Shifts(torch.tensor([-1]), torch.tensor([0]))
    assert crop(image, down_right)[0, 0].tolist() == [[5, 6, 0], [8, 9, 0], [0, 0, 0]]
    assert crop(image, up)[0, 0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert crop(image, up, outside=255)[0, 0, 0].tolist() == [255, 255, 255]
    assert crop(image, up, fill="reflect")[0, 0].tolist() == [[4, 5, 6], [1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("fill", "mode", "table"),
    [("zeros", "constant", module.TABLE), ("zeros", "constant", 0), ("reflect", "reflect", module.TABLE)],
)
@pytest.mark.parametrize("p", [1.0, 0.5])
def test_equals_torchvision_image_by_image_at_the_same_draw(fill, mode, table, p, monkeypatch):
    monkeypatch.setattr(module, "TABLE", table)
    images = noise()
    operation = RandomCrop(padding=0.25, p=p, fill=fill)
    shifts = operation.draw(len(images), 16, 24, torch.Generator().manual_seed(5))
    rows, columns = 4, 6  # a quarter of each side
    expected = torch.stack(
        [
            v2.crop(v2.pad(image, [columns, rows], padding_mode=mode), rows + row, columns + column, 16, 24)
            for image, row, column in zip(images, shifts.rows.tolist(), shifts.columns.tolist(), strict=True)
        ]
    )
    out, _, _ = operation(images, torch.zeros(60), generator=torch.Generator().manual_seed(5))
    assert out.dtype == torch.uint8
    assert torch.equal(out, expected)


def test_shifts_are_uniform_over_all_places_and_independent():
    drawn = RandomCrop(padding=0.125).draw(20_000, 16, 8, torch.Generator().manual_seed(0))
    places = ((drawn.rows + 2) * 3 + drawn.columns + 1).bincount()
    assert (drawn.rows.min(), drawn.rows.max(), drawn.columns.min(), drawn.columns.max()) == (-2, 2, -1, 1)
    assert len(places) == 15
    # Chi-squared with 14 degrees of freedom is above 36.1 once in a thousand.
    assert ((places - 20_000 / 15) ** 2 / (20_000 / 15)).sum() < 36.1


@pytest.mark.parametrize(("side", "pixels"), [(8, 1), (28, 4), (32, 4), (20, 3), (224, 28)])
def test_padding_is_a_share_of_the_side_rounded_half_up(side, pixels):
    drawn = RandomCrop(padding=0.125).draw(2000, side, side, torch.Generator().manual_seed(0))
    assert drawn.rows.abs().max() == drawn.columns.abs().max() == pixels


@pytest.mark.parametrize("table", [module.TABLE, 0])
@pytest.mark.parametrize("fill", ["zeros", "reflect"])
def test_no_images_and_other_layouts(fill, table, monkeypatch):
    monkeypatch.setattr(module, "TABLE", table)
    images, operation = noise(20), RandomCrop(fill=fill)
    expected = operation(images, images, generator=torch.Generator().manual_seed(5))[0]
    turned = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(operation(turned, images, generator=torch.Generator().manual_seed(5))[0], expected)
    assert torch.equal(images, noise(20))
    assert operation(images[:0], images[:0], generator=torch.Generator())[0].shape == (0, 3, 16, 24)


@pytest.mark.parametrize("table", [module.TABLE, 0])
def test_masks_are_ignored_outside_the_image(table, monkeypatch):
    monkeypatch.setattr(module, "TABLE", table)
    masks = torch.ones(60, 16, 24, dtype=torch.int64)
    images = torch.ones(60, 1, 16, 24, dtype=torch.uint8)
    new_images, _, new_masks = RandomCrop()(images, masks, generator=torch.Generator(), masks=masks)
    assert set(new_masks.unique().tolist()) == {1, 255}
    assert torch.equal(new_masks == 255, new_images[:, 0] == 0)


@pytest.mark.parametrize("arguments", [{"padding": 0}, {"padding": 1}, {"padding": -0.1}, {"fill": "edge"}, {"p": 2}])
def test_impossible_values_are_refused(arguments):
    with pytest.raises(UserError, match="got"):
        build_recipe({"random_crop": arguments}, num_classes=3)


def test_padding_that_rounds_to_nothing_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"padding=0\.05 is 0 of 8 pixels"):
        RandomCrop(padding=0.05).draw(4, 8, 8, torch.Generator())
