"""Corruptions are seeded and grow with their severity; each has the property that it is named after."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from datamodules.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from datamodules.distortions import conditions, hued, masked, moved, rotated, zoomed


@pytest.fixture(scope="module")
def photos():
    from sklearn.datasets import load_sample_images

    found = [torch.from_numpy(one.copy()).permute(2, 0, 1) for one in load_sample_images().images]
    return torch.stack([one[:, row : row + 64, 200:264] for one in found for row in (50, 150)])


def draws(count, seed=0):
    return [torch.Generator().manual_seed(100 * seed + one) for one in range(count)]


def run(images, name, severity, seed=0):
    return corrupt(images, name=name, severity=severity, generators=draws(len(images), seed))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_is_seeded_image_by_image_and_grows(name, photos):
    found = [run(photos, name, severity) for severity in SEVERITIES]
    assert all(one.dtype == torch.uint8 and one.shape == photos.shape for one in found)
    assert torch.equal(found[2], run(photos, name, 3))
    alone = corrupt(photos[1:2], name=name, severity=3, generators=draws(2)[1:])
    assert torch.equal(alone[0], found[2][1])
    change = [(one.float() - photos.float()).pow(2).mean().item() for one in found]
    assert 1 < change[0] < change[2] < change[4], change
    grey = run(photos[:, :1], name, 2)
    assert grey.shape == (4, 1, 64, 64)
    assert run(photos[:, :, :8, :8], name, 5).shape == (4, 3, 8, 8)


def test_noise_has_the_deviation_that_it_says():
    grey = torch.full((4, 1, 64, 64), 128, dtype=torch.uint8)
    residue = run(grey, "gaussian_noise", 1).float() / 255 - 128 / 255
    assert abs(residue.std().item() - 0.08) < 0.002 and abs(residue.mean().item()) < 0.002
    shot = run(grey, "shot_noise", 1).float() / 255
    assert abs(shot.var().item() - 128 / 255 / 60) < 4e-4  # of a Poisson count, over photons
    hit = run(grey, "impulse_noise", 5)
    assert abs(((hit == 0) | (hit == 255)).float().mean().item() - 0.27) < 0.02
    assert abs((hit == 0).float().mean().item() - 0.135) < 0.015
    assert not torch.equal(run(grey, "gaussian_noise", 1), run(grey, "gaussian_noise", 1, seed=1))


def test_blur_contrast_brightness_pixels_and_jpeg_are_those_of_other_libraries(photos):
    inner = (slice(None), slice(None), slice(12, -12), slice(12, -12))
    sigma = 6 * 64 / 224
    blurred = np.stack([[gaussian_filter(c, sigma, mode="mirror") for c in one] for one in photos.float().numpy()])
    assert np.abs(run(photos, "gaussian_blur", 5).numpy()[inner] - blurred[inner]).max() < 1.5
    weak = run(photos, "contrast", 2).float()
    assert torch.allclose(weak.std(dim=(2, 3)), 0.3 * photos.float().std(dim=(2, 3)), atol=0.5)
    assert torch.allclose(weak.mean(dim=(2, 3)), photos.float().mean(dim=(2, 3)), atol=0.5)
    for before, after in zip(photos, run(photos, "brightness", 2), strict=True):
        was, now = (np.asarray(Image.fromarray(one.permute(1, 2, 0).numpy()).convert("HSV")) for one in (before, after))
        assert np.abs(np.minimum(was[..., 2] + 51.0, 255) - now[..., 2]).max() <= 1
    blocks = run(photos, "pixelate", 2)  # half the side
    mean = photos.float().view(4, 3, 32, 2, 32, 2).mean(dim=(3, 5))
    assert (blocks[:, :, ::2, ::2].float() - mean).abs().max() <= 1
    from cv2 import IMREAD_COLOR, IMWRITE_JPEG_QUALITY, imdecode, imencode

    reversed_channels = np.ascontiguousarray(photos[0].permute(1, 2, 0).numpy()[..., ::-1])
    packed = imencode(".jpg", reversed_channels, [IMWRITE_JPEG_QUALITY, 10])[1]
    theirs = torch.from_numpy(imdecode(packed, IMREAD_COLOR)[..., ::-1].copy()).permute(2, 0, 1)
    assert (run(photos, "jpeg", 4)[0].float() - theirs.float()).abs().mean() < 2


def test_motion_blur_keeps_what_is_even_and_moves_no_mass():
    even = torch.full((2, 1, 20, 20), 90, dtype=torch.uint8)
    assert torch.equal(run(even, "motion_blur", 5), even)
    dot = torch.zeros(1, 1, 21, 21, dtype=torch.uint8)
    dot[0, 0, 10, 10] = 255
    line = run(dot, "motion_blur", 2).float()[0, 0]
    rows, columns = torch.meshgrid(torch.arange(21.0), torch.arange(21.0), indexing="ij")
    assert abs((line * rows).sum() / line.sum() - 10) < 0.1 and abs((line * columns).sum() / line.sum() - 10) < 0.1
    assert abs(line.sum() - 255) < 12 and (line > 0).sum() >= 3


def test_geometry_is_exact_where_it_can_be(photos):
    assert torch.equal(rotated(photos, 0), photos) and torch.equal(moved(photos, 0), photos)
    assert torch.equal(zoomed(photos, 1), photos)
    assert (rotated(photos, 90).int() - torch.rot90(photos, 1, (2, 3)).int()).abs().max() <= 1  # anticlockwise
    right = moved(photos, 0.25)
    assert (right[..., 16:].int() - photos[..., :48].int()).abs().max() <= 1
    assert (right[..., :16].int() - photos[..., :1].int()).abs().max() <= 1  # the border goes on
    large = zoomed(photos, 2).float()
    assert torch.allclose(large.mean(), photos[:, :, 16:48, 16:48].float().mean(), atol=1.5)
    assert torch.equal(hued(photos, 0.0), photos) or (hued(photos, 0.0).int() - photos.int()).abs().max() <= 2
    assert (hued(photos, 0.5).int() - photos.int()).abs().float().mean() > 3


def test_masks_cover_the_share_that_they_say(photos):
    colour = (0.0, 0.5, 1.0)
    fill = torch.tensor([0, 128, 255], dtype=torch.uint8)[:, None, None]
    centre = masked(photos, 0.25, inside=True, colour=colour)
    assert torch.equal(centre[:, :, 16:48, 16:48], fill.expand(4, 3, 32, 32))
    assert torch.equal(centre[:, :, :16], photos[:, :, :16]) and torch.equal(centre[..., 48:], photos[..., 48:])
    around = masked(photos, 0.75, inside=False, colour=colour)
    assert torch.equal(around[:, :, 16:48, 16:48], photos[:, :, 16:48, 16:48])
    assert torch.equal(around[:, :, :16], fill.expand(4, 3, 16, 64))
    for inside in (True, False):
        assert torch.equal(masked(photos, 0.0, inside=inside, colour=colour), photos)


def test_every_condition_can_be_applied_and_depends_on_the_key_alone(photos):
    wanted = conditions(corruptions=True, curves=True, shortcut=True, colour=True, seed=1)
    assert len({(one.table, one.name, one.level) for one in wanted}) == len(wanted) >= 100
    keys, mean = ["a", "b", "c", "d"], (0.5, 0.5, 0.5)
    for one in wanted:
        found = one.change(photos, keys, mean)
        assert found.dtype == torch.uint8 and found.shape == photos.shape
        if one.table == "corruptions" and one.level == 2:
            assert torch.equal(one.change(photos[2:], keys[2:], mean), found[2:]), one.name
    noise = next(one for one in wanted if one.name == "gaussian_noise")
    assert not torch.equal(noise.change(photos[:1], ["a"], mean), noise.change(photos[:1], ["b"], mean))
    grey = conditions(corruptions=False, curves=True, shortcut=False, colour=False, seed=1)
    assert {one.name for one in grey} == {"angle", "shift", "scale"}
