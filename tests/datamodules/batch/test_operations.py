"""Whole-registry tests: a new line of the table is tested by being there."""

import importlib
import subprocess
import sys

import pytest
import torch

from datamodules.batch import OPERATIONS, build_recipe, large
from settings.errors import UserError
from settings.schema import signatures
from settings.schema.checks import FILLED_IN_OPERATIONS as FILLED_IN

CLASSES = 5
# Ours that leave no image of noise as it was; another may draw a shift by nothing, the identity, a box without area.
ALWAYS_CHANGE = {
    *("horizontal_flip", "vertical_flip", "affine", "quarter_turn", "elastic", "color_jitter", "cutout"),
    *("random_erasing", "hide_and_seek", "grid_mask", "adversarial_erasing", "mosaic"),
}
MOVE_MASKS = {"random_crop", "horizontal_flip", "vertical_flip", "quarter_turn"}


def class_of(name):
    file, class_name = OPERATIONS[name].split(":")
    return getattr(importlib.import_module(f"datamodules.batch.{file}"), class_name)


NEUTRAL = {name: class_of(name).neutral for name in OPERATIONS if getattr(class_of(name), "neutral", None)}
MIX = {name for name in OPERATIONS if getattr(class_of(name), "mixes", False)}


def operation(name, **arguments):
    return build_recipe({name: arguments}, num_classes=CLASSES, attention=brightness)[0]


def brightness(images, targets):
    """What a net looks at that likes light."""
    return images.float().mean(dim=1)


def batch(n=32, channels=3, height=20, width=20):
    noise = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=noise)
    masks = torch.randint(0, 5, (n, height, width), generator=noise)
    return images, torch.arange(n) % CLASSES, masks


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


every = pytest.mark.parametrize("name", OPERATIONS)


@every
def test_keeps_the_batch_contract_and_its_inputs(name):
    images, targets, masks = batch()
    before = images.clone(), masks.clone()
    given = masks if getattr(class_of(name), "moves_masks", True) else None
    new_images, _, new_masks = operation(name)(images, targets, generator=seeded(), masks=given)
    assert (new_images.dtype, new_images.shape) == (torch.uint8, images.shape)
    assert given is None or (new_masks.dtype, new_masks.shape) == (torch.int64, masks.shape)
    assert not torch.equal(new_images, images)
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])
    assert operation(name)(images, targets, generator=seeded())[2] is None


@every
def test_labels_stay_or_become_shares(name):
    images, targets, _ = batch()
    new_targets = operation(name)(images, targets, generator=seeded())[1]
    if new_targets.dtype == torch.int64:
        assert torch.equal(new_targets, targets)
    else:
        assert (new_targets.dtype, new_targets.shape) == (torch.float32, (32, CLASSES))
        assert new_targets.min() >= 0
        assert torch.allclose(new_targets.sum(1), torch.ones(32), atol=1e-6)
        assert (new_targets.max(1).values < 0.999).any()


@every
def test_does_nothing_at_no_probability(name):
    images, targets, masks = batch()
    given = masks if getattr(class_of(name), "moves_masks", True) else None
    out, new_targets, new_masks = operation(name, p=0)(images, targets, generator=seeded(), masks=given)
    assert torch.equal(out, images)
    assert given is None or torch.equal(new_masks, masks)
    if new_targets.dtype == torch.float32:
        assert torch.equal(new_targets, torch.nn.functional.one_hot(targets, CLASSES).float())


@pytest.mark.parametrize("name", NEUTRAL)
def test_does_nothing_at_no_strength(name):
    images, targets, masks = batch()
    for seed in range(3):
        changing = operation(name, **NEUTRAL[name], p=1)
        out, labels, moved = changing(images, targets, generator=seeded(seed), masks=masks)
        assert torch.equal(out, images) and torch.equal(labels, targets) and torch.equal(moved, masks)


def test_a_strength_that_would_do_nothing_is_refused():
    with pytest.raises(UserError, match="side=0 is 0 of 20 pixels"):
        operation("cutout", side=0)(*batch()[:2], generator=seeded())


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in MIX])
def test_an_image_depends_on_no_other_image_of_its_batch(name):
    images, targets, _ = batch()
    others = images.clone()
    others[::2] = 255 - others[::2] // 3
    one, two = (operation(name, p=1)(each, targets, generator=seeded(3))[0] for each in (images, others))
    assert torch.equal(one[1::2], two[1::2])


def test_those_that_mix_are_the_ones_that_depend_on_others():
    found = {name for name in OPERATIONS if getattr(operation(name), "operations", None)}  # share one coin
    assert found == MIX


@every
def test_the_path_of_large_images_gives_the_same_bits(name, monkeypatch):
    for channels in (1, 3):
        images, targets, _ = batch(24, channels)
        images[::3] = images[::3] // 64 + 100
        expected = operation(name)(images, targets, generator=seeded(5))
        monkeypatch.setattr(large, "SMALL", 0)
        found = operation(name)(images, targets, generator=seeded(5))
        monkeypatch.undo()
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@every
def test_takes_grey_images_black_ones_and_a_single_one(name):
    for shape in ((1, 1, 8, 8), (1, 3, 8, 8), (16, 1, 8, 8)):
        images = torch.zeros(shape, dtype=torch.uint8)
        out, targets, _ = operation(name)(images, torch.zeros(len(images), dtype=torch.int64), generator=seeded())
        assert (out.shape, out.dtype, len(targets)) == (images.shape, torch.uint8, len(images))


@every
def test_is_a_function_of_the_generator_alone(name):
    images, targets, _ = batch()
    state = torch.get_rng_state()
    first, labels, _ = operation(name)(images, targets, generator=seeded(1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(11)
    again = operation(name)(images, targets, generator=seeded(1))
    assert torch.equal(again[0], first) and torch.equal(again[1], labels)
    assert not torch.equal(operation(name)(images, targets, generator=seeded(2))[0], first)


@every
def test_the_coin_falls_as_often_as_it_says(name):
    n = 2000
    images, targets, _ = batch(n, height=16, width=16)  # noise: an image is unchanged only if it was not touched

    def touched(p):
        out = operation(name, p=p)(images, targets, generator=seeded())[0]
        return (out != images).flatten(1).any(1).sum().item()

    # A crop that lands on the image itself, 1 in 25 at two pixels of padding, looks like an untouched one; so do
    # operations of RandAugment that are drawn as nothing. `test_randaugment.py` and others count their draws.
    rate = touched(1) / n
    assert touched(0) == 0
    assert rate == 1 or name not in ALWAYS_CHANGE
    assert name != "random_crop" or abs(rate - 24 / 25) < 4 * (24 / 25 / 25 / n) ** 0.5
    assert rate > 0.5
    expected = 0.3 * rate
    assert abs(touched(0.3) - n * expected) < 4 * (n * expected * (1 - expected)) ** 0.5


@every
def test_each_image_has_its_own_draw(name):
    images = batch(2)[0].repeat(32, 1, 1, 1)
    out = operation(name)(images, torch.zeros(64, dtype=torch.int64), generator=seeded())[0]
    assert len({tuple(one.flatten().tolist()) for one in out}) > 2


@pytest.mark.parametrize("name", sorted(MOVE_MASKS))
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
    with pytest.raises(UserError, match=rf"augment\.{name}: p must be from 0 to 1; got {p}"):
        operation(name, p=p)


def test_the_order_of_the_mapping_is_the_order_of_the_recipe():
    lines = {"vertical_flip": {"p": 0.5}, "horizontal_flip": None, "random_crop": {"padding": 0.25}}
    recipe = build_recipe(lines, num_classes=CLASSES)
    assert [type(op).__name__ for op in recipe] == ["VerticalFlip", "RandomCrop"]
    reverse = build_recipe({"random_crop": {"padding": 0.25}, "vertical_flip": {"p": 0.5}}, num_classes=CLASSES)
    assert [type(op).__name__ for op in reverse] == ["RandomCrop", "VerticalFlip"]


def test_unknown_operations_and_arguments_are_named():
    with pytest.raises(UserError, match=r"horizontal_flop.*nearest: horizontal_flip"):
        build_recipe({"horizontal_flop": {}}, num_classes=CLASSES)
    with pytest.raises(UserError, match=r"augment\.random_crop: .*pading"):
        build_recipe({"random_crop": {"pading": 0.1}}, num_classes=CLASSES)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("randaugment", {"magnitude": 31}, "augment.randaugment: magnitude must be from 0 to 30; got 31"),
        ("cutout", {"holes": 0}, "augment.cutout: holes must be from 1 to 100; got 0"),
        ("random_crop", {"padding": 0}, "augment.random_crop: padding must be more than 0 and less than 1; got 0"),
        ("mixup", {"alpha": 0}, "augment.mixup: alpha must be from 0.01 to 100; got 0"),
        ("affine", {"zoom": [1]}, "augment.affine: zoom must be a list of 2; got [1]"),
    ],
)
def test_a_recipe_holds_arguments_against_their_annotations(name, arguments, words):
    with pytest.raises(UserError) as error:
        operation(name, **arguments)
    assert str(error.value) == words


@every
def test_probability_is_stated_in_the_signature(name):
    """So that the configuration refuses p=2 before any data is read."""
    (found,) = signatures.mistakes(f"datamodules.batch.{OPERATIONS[name].replace(':', '.')}", {"p": 2}, ours=FILLED_IN)
    assert found == ("p", "=2: must be from 0 to 1")


def test_each_line_of_the_table_names_a_class():
    for line in OPERATIONS.values():
        file, name = line.split(":")
        assert isinstance(getattr(importlib.import_module(f"datamodules.batch.{file}"), name), type)


def test_the_table_is_read_without_torch():
    code = "import sys, datamodules, datamodules.batch, datamodules.sources; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
