"""The reference is torchvision's composed pipeline; the images are seeded noise, every pixel counts."""

import pytest
import torch
from torchvision.transforms import v2

from datamodules.transforms import fit_to, normalise
from settings.preprocessing import Preprocessing

RGB = {"channels": 3, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
GREY = {"channels": 1, "mean": (0.286,), "std": (0.353,)}


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("shape", [(4, 3, 40, 61), (4, 3, 61, 40), (2, 3, 17, 17), (2, 3, 28, 28), (1, 3, 100, 33)])
def test_equals_torchvision(shape, interpolation):
    preprocessing = Preprocessing(image_size=28, resize=32, interpolation=interpolation, **RGB)
    reference = v2.Compose(
        [
            v2.Resize(32, interpolation=v2.InterpolationMode(interpolation), antialias=True),
            v2.CenterCrop(28),
        ]
    )
    to_float = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(RGB["mean"], RGB["std"])])
    images = noise(*shape)
    fitted = fit_to(images, preprocessing)
    assert torch.equal(fitted, reference(images))
    result = normalise(fitted, preprocessing)
    assert (result.dtype, result.shape) == (torch.float32, (shape[0], 3, 28, 28))
    torch.testing.assert_close(result, to_float(fitted), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("channels", "stats"), [(3, RGB), (1, GREY)])
def test_large_images_are_normalised_one_by_one_to_the_same_bits(channels, stats):
    preprocessing = Preprocessing(**{"image_size": 128, "resize": 128, "interpolation": "bilinear", **stats})
    images = noise(3, channels, 130, 128)
    scale, bias = (
        torch.tensor(numbers, dtype=torch.float64).float().view(-1, 1, 1)
        for numbers in (
            [1 / (255 * std) for std in stats["std"]],
            [-mean / std for mean, std in zip(stats["mean"], stats["std"], strict=True)],
        )
    )
    expected = torch.addcmul(bias, images.float(), scale)
    assert torch.equal(normalise(images, preprocessing), expected)
    assert torch.equal(normalise(images.contiguous(memory_format=torch.channels_last), preprocessing), expected)
    assert normalise(images[:0], preprocessing).shape == (0, *images.shape[1:])


@pytest.mark.parametrize("side", [16, 128])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_what_is_normalised_stays_as_it_was(side, dtype):
    preprocessing = Preprocessing(image_size=side, resize=side, interpolation="bilinear", **RGB)
    images = noise(2, 3, side, side).to(dtype)
    before = images.clone()
    assert not torch.equal(normalise(images, preprocessing), before)
    assert torch.equal(images, before)


def test_every_byte_is_normalised_within_1e6_of_the_exact_number():
    preprocessing = Preprocessing(image_size=16, resize=16, interpolation="bilinear", **RGB)
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    mean, std = (torch.tensor(RGB[name], dtype=torch.float64).view(3, 1, 1) for name in ("mean", "std"))
    exact = (images.double() / 255 - mean) / std
    assert (normalise(images, preprocessing).double() - exact).abs().max() < 1e-6


def test_is_bit_identical_on_repeat_and_draws_nothing():
    preprocessing = Preprocessing(image_size=28, resize=32, interpolation="bilinear", **RGB)
    images = noise(4, 3, 40, 61)
    state = torch.get_rng_state()
    first = normalise(fit_to(images, preprocessing), preprocessing)
    assert torch.equal(normalise(fit_to(images, preprocessing), preprocessing), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, noise(4, 3, 40, 61))  # the input is left alone


def test_images_of_the_right_size_are_left_alone():
    images = noise(2, 1, 28, 28)
    assert fit_to(images, Preprocessing(image_size=28, resize=28, interpolation="bilinear", **GREY)) is images
    # Same size, but a zoom is asked for: it must not be skipped.
    zoomed = fit_to(images, Preprocessing(image_size=28, resize=32, interpolation="bilinear", **GREY))
    assert zoomed.shape == images.shape
    assert not torch.equal(zoomed, images)


def test_channels_grey_is_repeated_and_colour_becomes_luma():
    grey = noise(2, 1, 8, 8)
    to_rgb = fit_to(grey, Preprocessing(image_size=8, resize=8, interpolation="bilinear", **RGB))
    assert torch.equal(to_rgb, torch.cat([grey] * 3, dim=1))
    colour = noise(2, 3, 8, 8)
    to_grey = fit_to(colour, Preprocessing(image_size=8, resize=8, interpolation="bilinear", **GREY))
    luma = 0.299 * colour[:, 0].double() + 0.587 * colour[:, 1].double() + 0.114 * colour[:, 2].double()
    assert to_grey.shape == (2, 1, 8, 8)
    assert (to_grey[:, 0].double() - luma).abs().max() <= 1
    with pytest.raises(ValueError, match="2 channels and 1"):
        fit_to(noise(1, 2, 8, 8), Preprocessing(image_size=8, resize=8, interpolation="bilinear", **GREY))
