"""TrivialAugment, AutoAugment and AugMix: each image against torchvision's own at the same draw."""

import pytest
import torch
from torchvision.transforms import v2

from datamodules.batch import augmix, auto_augment, kinds, trivial_augment
from datamodules.batch.augmix import AugMix
from datamodules.batch.auto_augment import AutoAugment
from datamodules.batch.trivial_augment import TrivialAugment

NAMES = list(kinds.KINDS)


def camel(name):
    return {"autocontrast": "AutoContrast"}.get(name, "".join(part.capitalize() for part in name.split("_")))


def pictures(n, channels, height=24, width=20):
    noise = torch.Generator().manual_seed(height * width + channels)
    images = torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=noise)
    images[1::3] = (torch.arange(width) * 255 // width).to(torch.uint8)
    return images


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def apply(reference, space, image, index, level, negative, bins):
    """One operation as torchvision's class applies it."""
    name = camel(NAMES[index])
    magnitudes, has_sign = space[name]
    magnitudes = magnitudes(bins, *image.shape[-2:])
    strength = 0.0 if magnitudes is None else float(magnitudes[level])
    strength = -strength if has_sign and negative else strength
    return reference._apply_image_or_video_transform(
        image, name, strength, interpolation=reference.interpolation, fill={torch.Tensor: None}
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_trivial_augment_equals_torchvisions(channels):
    images, operation = pictures(200, channels), TrivialAugment(p=0.9)
    drawn = operation.draw(200, seeded(4))
    assert len(drawn.operations.unique()) == 14 and drawn.levels.max() == 30
    out, targets, _ = operation(images, torch.arange(200), generator=seeded(4))
    assert torch.equal(targets, torch.arange(200))
    reference = v2.TrivialAugmentWide()
    for image, mine, index, level, negative in zip(images, out, *(one.tolist() for one in drawn), strict=True):
        expected = apply(reference, reference._AUGMENTATION_SPACE, image, index, level, negative, 31)
        assert torch.equal(mine, expected), (NAMES[index], level, negative)


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_auto_augment_equals_torchvisions(policy):
    images, operation = pictures(150, 3), AutoAugment(policy=policy, p=0.9)
    drawn = operation.draw(150, seeded(2))
    assert len(drawn.pairs.unique()) == 25
    out, _, _ = operation(images, torch.zeros(150), generator=seeded(2))
    reference = v2.AutoAugment(v2.AutoAugmentPolicy(policy))
    for image, mine, pair, happens, negative in zip(images, out, *(one.tolist() for one in drawn), strict=True):
        for place, (name, _, level) in enumerate(reference._policies[pair]):
            if happens[place]:
                index = [camel(each) for each in NAMES].index(name)
                image = apply(reference, reference._AUGMENTATION_SPACE, image, index, level, negative[place], 10)
        assert torch.equal(mine, image), reference._policies[pair]


def test_the_pairs_of_auto_augment_fall_as_often_as_the_policy_says():
    n = 50_000
    drawn = AutoAugment(policy="svhn").draw(n, seeded())
    chances = torch.tensor(
        [[first[1], second[1]] for first, second in v2.AutoAugment(v2.AutoAugmentPolicy.SVHN)._policies]
    )
    for pair in range(25):
        mine = drawn.happens[drawn.pairs == pair].float()
        assert abs(len(mine) - n / 25) < 4 * (n / 25) ** 0.5
        for place in range(2):
            chance = chances[pair, place].item()
            assert abs(mine[:, place].mean() - chance) <= 4 * (chance * (1 - chance) / len(mine)) ** 0.5


def test_augmix_equals_torchvisions():
    images, operation = pictures(60, 3), AugMix(severity=7, p=0.8)
    drawn = operation.draw(60, seeded(3))
    out, _, _ = operation(images, torch.zeros(60), generator=seeded(3))
    reference = v2.AugMix()
    assert reference.interpolation == "bilinear"
    for index, image in enumerate(images):
        mixed = drawn.own[index] * image
        for chain in range(3):
            changed = image
            for place in range(3):
                kind = int(drawn.operations[chain, place, index])
                if kind:
                    level, negative = int(drawn.levels[chain, place, index]), bool(drawn.negative[chain, place, index])
                    changed = apply(reference, reference._AUGMENTATION_SPACE, changed, kind, level, negative, 10)
            mixed += drawn.weights[index, chain] * changed
        assert torch.equal(out[index], mixed.to(torch.uint8))


def test_augmix_draws_chains_of_one_to_three_and_weights_that_sum_to_one():
    drawn = AugMix(width=4, p=0.7).draw(6000, seeded())
    assert torch.allclose(drawn.own + drawn.weights.sum(1), torch.ones(6000), atol=1e-5)
    lengths = (drawn.operations > 0).sum(1).flatten()  # (width * B,)
    assert lengths.min() == 1 and lengths.max() == 3
    counts = lengths.bincount()[1:]
    assert ((counts - 8000.0) ** 2 / 8000).sum() < 13.8  # chi-squared, 2 degrees of freedom, 1 in 1000
    assert abs((drawn.own == 1).float().mean() - 0.3) < 4 * (0.21 / 6000) ** 0.5
    assert drawn.levels.max() == 2  # severity 3
    assert {NAMES[one] for one in drawn.operations.unique().tolist()} == {"identity", *augmix.RANGES}


def test_operations_and_levels_are_uniform_and_signs_fair():
    n = 6000
    trivial, auto, mixed = (one.draw(n, seeded()) for one in (TrivialAugment(), AutoAugment(), AugMix(severity=10)))
    in_chains = mixed.operations[mixed.operations > 0]
    for drawn, count in (
        (trivial.operations, 14),
        (trivial.levels, 31),
        (mixed.levels.flatten(), 10),
        (torch.tensor([list(augmix.RANGES).index(NAMES[one]) for one in in_chains.tolist()]), len(augmix.RANGES)),
    ):
        counts = drawn.bincount(minlength=count)
        expected = len(drawn) / count
        assert len(counts) == count
        # Chi-squared, its mean and four times its standard deviation.
        assert ((counts - expected) ** 2 / expected).sum() < count - 1 + 4 * (2 * (count - 1)) ** 0.5
    for negative in (trivial.negative, auto.negative, mixed.negative):
        assert abs(negative.float().mean() - 0.5) < 4 * 0.5 / negative.numel() ** 0.5


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_the_weights_of_augmix_are_beta_and_dirichlet(alpha):
    width, n = 4, 6000
    drawn = AugMix(width=width, alpha=alpha).draw(n, seeded())
    shares = (drawn.weights / (1 - drawn.own)[:, None])[drawn.own < 0.99].flatten()
    variances = 1 / (4 * (2 * alpha + 1)), (1 - 1 / width) / width / (width * alpha + 1)
    for values, mean, variance in zip((drawn.own, shares), (0.5, 1 / width), variances, strict=True):
        assert abs(values.mean() - mean) < 4 * (variance / len(values)) ** 0.5
        assert abs(values.var() / variance - 1) < 0.1


def test_the_spaces_are_torchvisions():
    for ranges, space, extra in (
        (trivial_augment.RANGES, v2.TrivialAugmentWide._AUGMENTATION_SPACE, {"identity", "autocontrast", "equalize"}),
        (augmix.RANGES, v2.AugMix._AUGMENTATION_SPACE, set()),
        (auto_augment.RANGES, v2.AutoAugment._AUGMENTATION_SPACE, {"autocontrast", "equalize", "invert"}),
    ):
        assert {camel(name) for name in {*ranges, *extra}} == set(space)
        for name in ranges:
            assert kinds.KINDS[name].signed == space[camel(name)][1]
