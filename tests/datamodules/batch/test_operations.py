"""Whole-registry tests: a new line of the table is tested by being there."""

import importlib
import subprocess
import sys

import pytest
import torch

from datamodules.batch import OPERATIONS, build_recipe, large
from settings.errors import UserError
from settings.schema import signatures

CLASSES = 5
# Arguments at which an operation that is drawn for every image changes none; None where its coin alone is its
# strength; a message where no strength is a mistake. A new operation has to say which.
NO_STRENGTH = {
    "random_crop": "padding is a share",
    "horizontal_flip": None,
    "vertical_flip": None,
    "affine": {"degrees": 0, "translate": 0, "zoom": [1, 1], "shear": 0},
    "quarter_turn": None,
    "elastic": {"shift": 0},
    "color_jitter": {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0},
    "equalize": None,
    "gaussian_blur": {"sigma": [1e-3, 1e-3]},
    "gaussian_noise": {"std": 0},
    "randaugment": {"num_ops": 0},
    "trivial_augment": None,
    "auto_augment": None,
    "augmix": None,
    "cutout": "side=0 is 0 of 20 pixels",
    "random_erasing": {"smallest": 0, "largest": 0},
    "hide_and_seek": {"hide": 0},
    "grid_mask": {"keep": 1},
    "adversarial_erasing": {"threshold": 1},
    "mixup": None,  # its own share is at least a half, and alpha above 0; `test_mixing.py` has it at a share of 1
    "cutmix": None,  # likewise, with a box without area
    "mosaic": None,
}
ZERO = {"random_crop": {"padding": 0}, "cutout": {"side": 0}}  # what the messages are about
MIX = {"mixup", "cutmix", "mosaic"}
# An image may come back as it was: shifted by nothing, the identity, a box without area.
POLICIES = {"randaugment", "trivial_augment", "auto_augment", "augmix"}
MAY_CHANGE_NOTHING = {*POLICIES, "random_crop", "gaussian_noise", "gaussian_blur", "equalize", "mixup", "cutmix"}
MOVE_MASKS = {"random_crop", "horizontal_flip", "vertical_flip", "quarter_turn"}
HAVE_NO_MASKS = {"mixup", "augmix"}


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
    given = None if name in HAVE_NO_MASKS else masks
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
    given = None if name in HAVE_NO_MASKS else masks
    out, new_targets, new_masks = operation(name, p=0)(images, targets, generator=seeded(), masks=given)
    assert torch.equal(out, images)
    assert given is None or torch.equal(new_masks, masks)
    if new_targets.dtype == torch.float32:
        assert torch.equal(new_targets, torch.nn.functional.one_hot(targets, CLASSES).float())


def test_every_operation_says_what_no_strength_is():
    assert set(NO_STRENGTH) == set(OPERATIONS), "a row in NO_STRENGTH for each operation, and no other"


@pytest.mark.parametrize("name", NO_STRENGTH)
def test_does_nothing_at_no_strength_or_says_that_it_would_not(name):
    images, targets, masks = batch()
    still = NO_STRENGTH[name]
    if isinstance(still, dict):
        for seed in range(3):
            changing = operation(name, **still, p=1)
            out, labels, moved = changing(images, targets, generator=seeded(seed), masks=masks)
            assert torch.equal(out, images) and torch.equal(labels, targets) and torch.equal(moved, masks)
    elif still:
        with pytest.raises(UserError, match=still):
            operation(name, **ZERO[name])(images, targets, generator=seeded())


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
    assert rate == 1 or name in MAY_CHANGE_NOTHING
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
    with pytest.raises(UserError, match=rf"augment\.{name}: .*from 0 to 1"):
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


@every
def test_ranges_are_literals_and_hold_in_the_constructor(name):
    """What the configuration reads from the source without torch is what the class itself keeps to."""
    file, class_name = OPERATIONS[name].split(":")
    found = getattr(getattr(importlib.import_module(f"datamodules.batch.{file}"), class_name), "ranges", {})
    assert (signatures.class_value(f"datamodules.batch.{file}.{class_name}", "ranges") or {}) == found
    for argument, (low, high) in found.items():
        for value in (low - 1, high + 1):
            with pytest.raises(UserError, match=rf"augment\.{name}: {argument} goes from"):
                operation(name, **{argument: value})


def test_each_line_of_the_table_names_a_class():
    for line in OPERATIONS.values():
        file, name = line.split(":")
        assert isinstance(getattr(importlib.import_module(f"datamodules.batch.{file}"), name), type)


def test_the_table_is_read_without_torch():
    code = "import sys, datamodules, datamodules.batch, datamodules.sources; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
