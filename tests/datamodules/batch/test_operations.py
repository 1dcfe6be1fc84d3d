"""Whole-registry tests: a new line of the table is tested by being there."""

import importlib
import subprocess
import sys

import pytest
import torch

from configs.errors import UserError
from datamodules.batch import OPERATIONS, build_recipe


def operation(name, **arguments):
    return build_recipe({name: arguments})[0]


def batch(n=32, channels=3, height=12, width=10):
    noise = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=noise)
    masks = torch.randint(0, 5, (n, height, width), generator=noise)
    return images, torch.arange(n), masks


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


every = pytest.mark.parametrize("name", OPERATIONS)


@every
def test_keeps_the_batch_contract_and_its_inputs(name):
    images, targets, masks = batch()
    before = images.clone(), masks.clone()
    new_images, new_targets, new_masks = operation(name)(images, targets, generator=seeded(), masks=masks)
    assert (new_images.dtype, new_images.shape) == (torch.uint8, images.shape)
    assert (new_masks.dtype, new_masks.shape) == (torch.int64, masks.shape)
    assert torch.equal(new_targets, targets)
    assert not torch.equal(new_images, images)
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])
    assert operation(name)(images, targets, generator=seeded())[2] is None


@every
def test_is_a_function_of_the_generator_alone(name):
    images, targets, _ = batch()
    state = torch.get_rng_state()
    first = operation(name)(images, targets, generator=seeded(1))[0]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(11)
    assert torch.equal(operation(name)(images, targets, generator=seeded(1))[0], first)
    assert not torch.equal(operation(name)(images, targets, generator=seeded(2))[0], first)


@every
def test_the_coin_falls_as_often_as_it_says(name):
    n = 2000
    images, targets, _ = batch(n, height=16, width=16)  # noise: an image is unchanged only if it was not touched

    def touched(p):
        out = operation(name, p=p)(images, targets, generator=seeded())[0]
        return (out != images).flatten(1).any(1).sum().item()

    # A crop that lands on the image itself, 1 in 25 at two pixels of padding, looks like an untouched one.
    rate = 24 / 25 if name == "random_crop" else 1
    assert touched(0) == 0
    assert touched(1) == n if rate == 1 else abs(touched(1) - n * rate) < 4 * (n * rate * (1 - rate)) ** 0.5
    expected = 0.3 * rate
    assert abs(touched(0.3) - n * expected) < 4 * (n * expected * (1 - expected)) ** 0.5


@every
def test_each_image_has_its_own_draw(name):
    image = batch(1)[0]
    out = operation(name)(image.expand(64, -1, -1, -1), torch.zeros(64), generator=seeded())[0]
    assert len({tuple(one.flatten().tolist()) for one in out}) > 1


@every
def test_masks_move_with_their_images(name):
    images, targets, _ = batch()
    masks = images[:, 0].long() + 1000  # off the fill value
    new_images, _, new_masks = operation(name)(images, targets, generator=seeded(), masks=masks)
    inside = new_masks != 255
    assert torch.equal(new_masks[inside], new_images[:, 0].long()[inside] + 1000)
    assert (new_images[:, 0][~inside] == 0).all()


@every
@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_what_is_no_probability_is_refused(name, p):
    with pytest.raises(UserError, match=rf"augment\.{name}: .*from 0 to 1"):
        operation(name, p=p)


def test_the_order_of_the_mapping_is_the_order_of_the_recipe():
    recipe = build_recipe({"vertical_flip": {"p": 0.5}, "horizontal_flip": None, "random_crop": {"padding": 0.25}})
    assert [type(op).__name__ for op in recipe] == ["VerticalFlip", "RandomCrop"]
    reverse = build_recipe({"random_crop": {"padding": 0.25}, "vertical_flip": {"p": 0.5}})
    assert [type(op).__name__ for op in reverse] == ["RandomCrop", "VerticalFlip"]


def test_unknown_operations_and_arguments_are_named():
    with pytest.raises(UserError, match=r"horizontal_flop.*nearest: horizontal_flip"):
        build_recipe({"horizontal_flop": {}})
    with pytest.raises(UserError, match=r"augment\.random_crop: .*pading"):
        build_recipe({"random_crop": {"pading": 0.1}})


def test_each_line_of_the_table_names_a_class():
    for line in OPERATIONS.values():
        file, name = line.split(":")
        assert isinstance(getattr(importlib.import_module(f"datamodules.batch.{file}"), name), type)


def test_the_table_is_read_without_torch():
    code = "import sys, datamodules, datamodules.batch, datamodules.sources; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
