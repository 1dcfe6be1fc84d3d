"""Colour jitter, noise, blur and equalisation against torchvision, image by image at the same draw."""

import torch
from torchvision.transforms.v2 import functional as v2

from datamodules.batch.color_jitter import ColorJitter, Draws, color_jitter, hue
from datamodules.batch.equalize import Equalize
from datamodules.batch.noise import GaussianBlur, GaussianNoise, gaussian_blur

REFERENCE = (v2.adjust_brightness, v2.adjust_contrast, v2.adjust_saturation, v2.adjust_hue)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, channels=3, height=18, width=15):
    images = torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=seeded(1))
    images[::5] = 200  # no colour
    images[1::5] = images[1::5] // 32 * 32
    return images


def close(mine, expected, share=0.01, levels=1):
    difference = (mine.int() - expected.int()).abs()
    return difference.max() <= levels and (difference > 0).float().mean() < share


def test_each_of_the_four_equals_torchvisions():
    for channels in (1, 3):
        images = pictures(40, channels)
        for index, change in enumerate(REFERENCE):
            factors = torch.tensor([1.0, 1.0, 1.0, 0.0])[:, None].repeat(1, 40)
            factors[index] = torch.empty(40).uniform_(-0.4, 0.4, generator=seeded(index)) + (index < 3)
            out = color_jitter(images, Draws(factors, torch.arange(4)[:, None].repeat(1, 40)))
            for image, mine, factor in zip(images, out, factors[index].tolist(), strict=True):
                if channels == 1 and index == 3:
                    assert torch.equal(mine, image)
                else:
                    # torchvision's hue cuts fractions off at places where float32 rounds either way.
                    assert close(mine, change(image, factor), share=0.02 if index < 3 else 1.0), (index, factor)


def test_the_order_of_each_image_is_its_own():
    images = pictures(60)
    operation = ColorJitter(hue=0.0, p=1.0)
    drawn = operation.draw(60, seeded(3))
    out, _, _ = operation(images, torch.zeros(60), generator=seeded(3))
    wrong_order = 0
    for index, image in enumerate(images):
        results = []
        for order in (drawn.order[:, index].tolist(), [3, 2, 1, 0]):
            changed = image
            for which in order:
                if which < 3:
                    changed = REFERENCE[which](changed, drawn.factors[which, index].item())
            results.append(changed)
        assert close(out[index], results[0], share=0.05, levels=2)
        wrong_order += not close(out[index], results[1], share=0.05, levels=2)
    assert wrong_order > 20
    orders = ColorJitter().draw(24_000, seeded()).order.T @ torch.tensor([64, 16, 4, 1])
    counts = orders.unique(return_counts=True)[1]
    assert len(counts) == 24 and ((counts - 1000.0) ** 2 / 1000).sum() < 49.7  # 23 degrees of freedom, 1 in 1000


def test_factors_are_uniform_and_neutral_where_the_coin_says_no():
    drawn = ColorJitter(brightness=0.2, contrast=0.3, saturation=0.4, hue=0.1, p=0.5).draw(10_000, seeded())
    changed = drawn.factors[3] != 0
    assert abs(changed.float().mean() - 0.5) < 0.02
    for factors, middle, reach in zip(drawn.factors, (1, 1, 1, 0), (0.2, 0.3, 0.4, 0.1), strict=True):
        assert (factors[~changed] == middle).all()
        counts = torch.histc(factors[changed], 10, middle - reach, middle + reach)
        assert counts.sum() == changed.sum() and ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 27.9


def test_hue_by_hand():
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    for turn, expected in ((1 / 3, [0, 255, 0]), (2 / 3, [0, 0, 255]), (0.5, [0, 255, 255]), (1.0, [255, 0, 0])):
        assert hue(red, torch.full((1, 1, 1, 1), turn)).flatten().tolist() == expected


def test_noise_has_the_width_that_was_drawn():
    images = torch.full((200, 1, 40, 40), 128, dtype=torch.uint8)
    operation = GaussianNoise(std=0.1, p=0.7)
    drawn = operation.draw(200, seeded(2))
    out, _, _ = operation(images, torch.zeros(200), generator=seeded(2))
    assert 30 < (drawn == 0).sum() < 90 and drawn.max() <= 25.5
    noise = out.float() - 128
    for mine, std in zip(noise, drawn.tolist(), strict=True):
        if 0 < std < 1:  # mostly rounded away
            continue
        expected = (std**2 + 1 / 12) ** 0.5 if std else 0.0  # rounding to grey levels adds a twelfth
        assert abs(mine.std().item() - expected) < max(0.12 * expected, 0.05)
        assert abs(mine.mean().item()) <= 4 * expected / 40 + 1e-6


def test_noise_is_cut_off_at_black_and_white_and_its_width_is_uniform():
    for level, low, high in ((250, 100, 255), (5, 0, 155)):
        out, _, _ = GaussianNoise(std=0.1, p=1.0)(
            torch.full((60, 1, 20, 20), level, dtype=torch.uint8), torch.zeros(60), generator=seeded()
        )
        assert out.min() >= low and out.max() <= high, "nothing wraps around"
        assert (out == (255 if level > 128 else 0)).float().mean() > 0.1
    drawn = GaussianNoise(std=0.2, p=1.0).draw(5000, seeded())
    counts = torch.histc(drawn, 10, 0, 51)
    assert counts.sum() == 5000 and ((counts - 500) ** 2 / 500).sum() < 27.9  # 9 degrees of freedom, 1 in 1000


def test_blur_equals_torchvisions_at_the_same_sigma():
    images = pictures(12, height=24, width=30)
    sigmas = torch.linspace(0.3, 2.0, 12)
    out = gaussian_blur(images, sigmas)
    for image, mine, sigma in zip(images, out, sigmas.tolist(), strict=True):
        assert close(mine, v2.gaussian_blur(image, [13, 13], [sigma, sigma]), share=0.01)
    drawn = GaussianBlur(sigma=[0.5, 1.5], p=0.4).draw(5000, seeded())
    assert abs((drawn > 0).float().mean() - 0.4) < 0.03
    counts = torch.histc(drawn[drawn > 0], 10, 0.5, 1.5)
    assert counts.sum() == (drawn > 0).sum()
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 27.9  # 9 degrees of freedom, 1 in 1000


def test_equalize_equals_torchvisions():
    images = pictures(50)
    out, _, _ = Equalize(p=0.5)(images, torch.zeros(50), generator=seeded(7))
    hit = torch.rand(50, generator=seeded(7)) < 0.5
    for image, mine, changed in zip(images, out, hit.tolist(), strict=True):
        assert torch.equal(mine, v2.equalize(image) if changed else image)
