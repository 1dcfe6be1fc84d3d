"""Whole-registry tests of what works image by image: ours, and albumentations' of the catalogue and our presets."""

import random

import albumentations
import numpy as np
import pytest
import torch
import yaml

from datamodules.digits import Digits
from datamodules.image import OPERATIONS, build_image_recipe, is_per_image
from settings.schema.names import ROOT

PRESETS = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "configs/augment").glob("*.yaml"))]
ROWS = {"CLAHE": {}, "FancyPCA": {"alpha": 1.0}, "GridDistortion": {}}  # named in the README
LINES = {name: given for lines in [{key: {} for key in OPERATIONS}, ROWS, *PRESETS] for name, given in lines.items()}
LINES = {name: given for name, given in LINES.items() if is_per_image(name)}
# Arguments at which a line that is drawn for every image changes none: ours say it, albumentations' are said here.
NO_STRENGTH = {
    "Affine": {"translate_percent": [0, 0], "scale": [1, 1], "rotate": [0, 0], "shear": [0, 0]},
    "FancyPCA": {"alpha": 0},
    # GridDistortion of albumentations 2.0.8 blackens the last row and column whatever the limit.
    "RandomBrightnessContrast": {"brightness_limit": [0, 0], "contrast_limit": [0, 0]},
}


def photo(channels=3, side=24):
    """A smooth picture with colours, as equalisers and colour operations want one."""
    rows, columns = torch.meshgrid(torch.linspace(0, 6, side), torch.linspace(0, 4, side), indexing="ij")
    waves = torch.stack([(rows + columns).sin(), (rows * 1.3).cos(), (columns - rows).sin()])
    return (90 + 60 * waves + 20 * (rows / 6)).to(torch.uint8)[:channels].clone()


def line(name, **arguments):
    (operation,) = build_image_recipe({name: {**LINES[name], **arguments}})
    return operation


def apply(operation, image, seed):
    return operation(image, size=image.shape[-1], generator=torch.Generator().manual_seed(seed))


every = pytest.mark.parametrize("name", LINES)


@every
@pytest.mark.parametrize("channels", [1, 3])
def test_keeps_shape_type_and_input_and_repeats_by_the_generator_alone(name, channels):
    image = photo(channels, side=96)
    before = image.clone()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    operation = line(name, p=1)
    first = [apply(operation, image, seed) for seed in range(6)]
    assert torch.equal(image, before)
    assert all((out.shape, out.dtype) == (image.shape, torch.uint8) for out in first)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1]) and random.getstate() == states[2]
    assert any(not torch.equal(out, image) for out in first)
    if name != "HorizontalFlip":
        assert any(not torch.equal(out, first[0]) for out in first)
    again = line(name, p=1)
    assert all(torch.equal(apply(again, image, seed), first[seed]) for seed in (5, 0, 3))


@every
def test_does_nothing_at_no_probability_and_at_no_strength(name):
    image = photo()
    still = getattr(type(line(name)), "neutral", None) if name in OPERATIONS else NO_STRENGTH.get(name)
    for arguments in ({"p": 0}, {"p": 1, **(still or {"p": 0})}):
        for seed in range(4):
            assert torch.equal(apply(line(name, **arguments), image, seed), image)


@every
def test_the_coin_falls_as_often_as_it_says(name):
    n, image = 250, photo(side=12)

    def touched(p):
        operation = line(name, p=p)
        return sum(not torch.equal(apply(operation, image, seed), image) for seed in range(n))

    rate = touched(1) / n
    assert rate > 0.5
    expected = 0.3 * rate
    assert abs(touched(0.3) - n * expected) < 4 * (n * expected * (1 - expected)) ** 0.5


def test_labels_stay():
    data = Digits()
    data.configure(recipe={name: {**given, "p": 1} for name, given in LINES.items()})
    data.setup()
    plain, drawn = data.drawn_batches(torch.arange(40), draws=1)
    assert torch.equal(plain[1], drawn[1]) and not torch.equal(plain[0], drawn[0])


def test_lines_of_the_catalogue_are_albumentations_classes():
    assert all(issubclass(getattr(albumentations, name), albumentations.BasicTransform) for name in ROWS)
