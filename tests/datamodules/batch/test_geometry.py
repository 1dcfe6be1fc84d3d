"""Affine changes, quarter turns and elastic distortions against torchvision, image by image at the same draw."""

import math

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from datamodules.batch.affine import Affine, Changes, QuarterTurn, affine_grid
from datamodules.batch.elastic import Elastic, smooth_field
from datamodules.batch.warp import pixel_grid, warp
from settings.errors import UserError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, channels=3, height=20, width=28):
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=seeded(1))


def test_affine_equals_torchvisions_at_the_same_draw():
    images = pictures(80)
    operation = Affine(degrees=60, translate=0.2, zoom=[0.6, 1.5], shear=20, p=0.8)
    drawn = operation.draw(80, seeded(3))
    out, targets, _ = operation(images, torch.arange(80), generator=seeded(3))
    assert torch.equal(targets, torch.arange(80))
    for image, mine, angle, right, down, zoom, shear in zip(images, out, *(x.tolist() for x in drawn), strict=True):
        expected = v2.affine(
            image, angle, [right * 28, down * 20], zoom, [shear, 0.0], interpolation=InterpolationMode.BILINEAR
        )
        # A grey level of rounding; and at the border, a place that is inside or outside by a rounding of float32.
        difference = (mine.int() - expected.int()).abs()
        assert (difference <= 1).float().mean() > 0.999
        assert (difference > 0).float().mean() < 0.01


def test_affine_by_hand():
    image = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=torch.uint8).view(1, 1, 3, 3)

    def changed(angle=0.0, right=0.0, down=0.0):
        changes = Changes(*(torch.tensor([value]) for value in (angle, right, down, 1.0, 0.0)))
        return warp(image, affine_grid(changes, 3, 3, image.device))[0][0, 0].tolist()

    assert changed() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert changed(right=1 / 3) == [[0, 1, 2], [0, 4, 5], [0, 7, 8]]
    assert changed(down=-1 / 3) == [[4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert changed(angle=90.0) == [[7, 4, 1], [8, 5, 2], [9, 6, 3]]


def test_affine_draws_are_uniform_in_their_ranges():
    drawn = Affine(degrees=30, translate=0.2, zoom=[0.5, 2.0], shear=10, p=0.5).draw(20_000, seeded())
    changed = drawn.zoom != 1
    assert abs(changed.float().mean() - 0.5) < 4 * 0.5 / 20_000**0.5
    for values, low, high, none in zip(
        drawn, (-30, -0.2, -0.2, 0.5, -10), (30, 0.2, 0.2, 2, 10), (0, 0, 0, 1, 0), strict=True
    ):
        assert (values[~changed] == none).all()
        counts = torch.histc(values[changed], 10, low, high)
        assert counts.sum() == changed.sum()
        assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 27.9  # 9 degrees of freedom, 1 in 1000


def test_quarter_turns_equal_rot90_and_are_fair():
    images = pictures(60, height=9, width=9)
    turns = QuarterTurn(p=0.75).draw(60, seeded(5))
    masks = images[:, 0].long()
    out, _, moved = QuarterTurn(p=0.75)(images, torch.zeros(60), generator=seeded(5), masks=masks)
    for image, mine, mask, quarters in zip(images, out, moved, turns.tolist(), strict=True):
        assert torch.equal(mine, torch.rot90(image, quarters, (1, 2)))
        assert torch.equal(mask, mine[0].long())
    counts = QuarterTurn(p=0.75).draw(12_000, seeded()).bincount(minlength=4)
    assert ((counts - 3000.0) ** 2 / 3000).sum() < 16.3
    with pytest.raises(UserError, match="20x28"):
        QuarterTurn()(pictures(2), torch.zeros(2), generator=seeded())


def test_elastic_equals_torchvisions_at_the_same_field():
    images, operation = pictures(24), Elastic(shift=0.05, smoothness=0.15, p=0.8)
    fields = operation.draw(24, 20, 28, seeded(2))
    out, _, _ = operation(images, torch.zeros(24), generator=seeded(2))
    for image, mine, field in zip(images, out, fields, strict=True):
        difference = (mine.int() - v2.elastic(image, field[None]).int()).abs()
        assert (difference <= 1).float().mean() > 0.999 and (difference > 0).float().mean() < 0.01


def test_the_field_moves_as_far_as_it_says_and_is_smooth():
    field = Elastic(shift=0.05, smoothness=0.2).draw(50, 32, 32, seeded())
    pixels = field * 16  # units of half a side
    assert pixels.flatten(1).std(dim=1).sub(0.05 * 32).abs().max() < 1e-3
    steps = (pixels[:, 1:] - pixels[:, :-1]).abs().mean()
    rough = Elastic(shift=0.05, smoothness=0.03).draw(50, 32, 32, seeded()) * 16
    assert steps < 0.5 * (rough[:, 1:] - rough[:, :-1]).abs().mean()
    for smoothness in (
        0.05,
        0.1,
    ):  # white noise under a Gaussian: neighbours d apart correlate by exp(-d^2 / 4 sigma^2)
        sigma, fields = 64 * smoothness, Elastic(smoothness=smoothness).draw(40, 64, 64, seeded())[:, 12:-12, 12:-12]
        apart = round(sigma)
        together = (fields[:, apart:] * fields[:, :-apart]).mean() / fields.square().mean()
        assert abs(together - math.exp(-(apart**2) / (4 * sigma**2))) < 0.05
    still = Elastic(p=0.4).draw(2000, 8, 8, seeded()).flatten(1).abs().sum(1) == 0
    assert abs(still.float().mean() - 0.6) < 4 * (0.24 / 2000) ** 0.5


def test_the_field_is_smoothed_as_torchvision_blurs():
    noise = torch.randn(2, 2, 30, 26, generator=seeded())
    sigma, reach = 2.5, 8  # three sigma
    expected = v2.gaussian_blur(noise, [2 * reach + 1, 2 * reach + 1], [sigma, sigma])
    assert torch.allclose(smooth_field(noise, sigma), expected, atol=1e-6)


def test_the_grid_is_the_identity_and_masks_move_with_it():
    images = pictures(3)
    grid = pixel_grid(20, 28, images.device).expand(3, -1, -1, -1)
    masks = images[:, 0].long() % 7
    out, same = warp(images, grid, masks=masks)
    assert torch.equal(out, images) and torch.equal(same, masks)
    shifted = grid + torch.tensor([2 * 3 / 28, 0.0])  # three columns from the right
    out, moved = warp(images, shifted, masks=masks)
    assert torch.equal(out[..., :-3], images[..., 3:]) and (out[..., -3:] == 0).all()
    assert torch.equal(moved[..., :-3], masks[..., 3:]) and (moved[..., -3:] == 255).all()
