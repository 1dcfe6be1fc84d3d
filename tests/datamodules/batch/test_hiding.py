"""Hide-and-Seek and GridMask against the masks of their papers, written as loops; Mosaic by its pixels and areas."""

import pytest
import torch

from datamodules.batch.hiding import GridMask, Grids, HideAndSeek, grid_squares, hidden_patches
from datamodules.batch.mosaic import GREY, Mosaic, tile_of_each_pixel
from settings.errors import UserError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_patches_by_hand():
    cells = torch.tensor([[[True, False], [False, True]]])
    assert hidden_patches(cells, 4, 5)[0].int().tolist() == [[1, 1, 1, 0, 0]] * 2 + [[0, 0, 0, 1, 1]] * 2


def test_each_cell_of_hide_and_seek_has_its_own_coin():
    operation = HideAndSeek(grids=[4], hide=0.3, p=1.0)
    hidden = operation.draw(3000, 16, 24, seeded())
    cells = hidden.view(3000, 4, 4, 4, 6)
    assert torch.equal(cells.amin(dim=(2, 4)), cells.amax(dim=(2, 4)))  # whole cells
    rates = cells[:, :, 0, :, 0].float().mean(0)
    assert (rates - 0.3).abs().max() < 4.5 * (0.21 / 3000) ** 0.5
    pairs = cells[:, 0, 0, 0, 0] & cells[:, 1, 0, 1, 0]
    assert abs(pairs.float().mean() - 0.09) < 4 * (0.09 * 0.91 / 3000) ** 0.5


def test_each_image_draws_its_own_grid():
    hidden = HideAndSeek(grids=[2, 8], hide=0.5, p=1.0).draw(400, 16, 16, seeded())
    blocks = hidden.view(400, 2, 8, 2, 8)
    coarse = (blocks.amin(dim=(2, 4)) == blocks.amax(dim=(2, 4))).flatten(1).all(1)
    assert abs(coarse.float().mean() - 0.5) < 0.1
    with pytest.raises(UserError, match="20 cells"):
        HideAndSeek(grids=[20]).draw(2, 16, 16, seeded())
    with pytest.raises(ValueError, match="whole numbers"):
        HideAndSeek(grids=[2.5])


def test_hidden_pixels_take_the_value_and_the_others_stay():
    images = torch.randint(0, 100, (40, 3, 16, 16), dtype=torch.uint8, generator=seeded())
    out, _, _ = HideAndSeek(value=200, p=0.8)(images, torch.zeros(40), generator=seeded(1))
    hidden = HideAndSeek(value=200, p=0.8).draw(40, 16, 16, seeded(1))[:, None].expand(-1, 3, -1, -1)
    assert (out[hidden] == 200).all() and torch.equal(out[~hidden], images[~hidden])


def test_grid_mask_equals_the_papers_strips():
    """The paper keeps strips `ceil(d r)` wide that repeat every d pixels, in rows and columns; squares are between."""
    operation = GridMask(smallest=0.3, largest=0.9, keep=0.6, p=0.8)
    drawn = operation.draw(60, 20, 26, seeded(2))
    masks = grid_squares(drawn, 20, 26)
    for index in range(60):
        unit, side, top, left = (int(one[index]) for one in drawn)
        expected = torch.zeros(20, 26, dtype=torch.bool)
        if side:
            kept = -(-unit * 6 // 10)
            assert side == unit - kept and 6 <= unit <= 18
            expected[:] = True
            for start in range(top + side - 10 * unit, 26 + unit, unit):
                expected[max(start, 0) : max(start + kept, 0)] = False
            for start in range(left + side - 10 * unit, 26 + unit, unit):
                expected[:, max(start, 0) : max(start + kept, 0)] = False
        assert torch.equal(masks[index], expected)
    assert 3 < (drawn.side == 0).sum() < 25


def test_grids_and_their_places_are_uniform():
    drawn = GridMask(smallest=0.25, largest=0.5, keep=0.5, p=1.0).draw(9000, 16, 32, seeded())
    units = drawn.unit.bincount(minlength=9)[4:]
    assert drawn.unit.min() == 4 and len(units) == 5 and ((units - 1800.0) ** 2 / 1800).sum() < 18.5  # 4 degrees
    for start in (drawn.top, drawn.left):
        places = start[drawn.unit == 8].bincount(minlength=8)
        expected = places.sum() / 8
        assert len(places) == 8 and ((places - expected) ** 2 / expected).sum() < 24.3  # 7 degrees, 1 in 1000


def test_grid_squares_by_hand():
    one = Grids(*(torch.tensor([value]) for value in (3, 1, 1, 0)))
    assert grid_squares(one, 4, 5)[0].int().tolist() == [[0] * 5, [1, 0, 0, 1, 0], [0] * 5, [0] * 5]
    with pytest.raises(UserError, match=r"grid_mask\.smallest=0\.05 is 0 of 8 pixels"):
        GridMask(smallest=0.05).draw(2, 8, 8, seeded())


def test_a_mosaic_shows_whole_images_at_half_size_and_labels_go_by_area():
    assert GREY == 114, "the level that YOLO's implementations pad with"
    n, classes = 12, 12
    images = torch.zeros(n, 1, 16, 20, dtype=torch.uint8)
    images[:] = (10 * torch.arange(1, n + 1)).view(-1, 1, 1, 1)
    operation = Mosaic(num_classes=classes)
    rows, columns, members = operation.draw(n, 16, 20, seeded(4))
    masks = images[:, 0].long()
    out, labels, moved = operation.mix(images, torch.eye(classes), masks, seeded(4))
    assert torch.allclose(labels.sum(1), torch.ones(n), atol=1e-6)
    for index in range(n):
        row, column = int(rows[index]), int(columns[index])
        expected = torch.full((16, 20), GREY, dtype=torch.uint8)
        for corner, (top, left) in enumerate(
            ((row - 8, column - 10), (row - 8, column), (row, column - 10), (row, column))
        ):
            value = 10 * (int(members[index, corner]) + 1)
            expected[max(top, 0) : max(top + 8, 0), max(left, 0) : max(left + 10, 0)] = value
        assert torch.equal(out[index, 0], expected)
        covered = (expected != GREY).sum()
        for label in range(classes):
            assert labels[index, label] == pytest.approx(
                ((expected == 10 * (label + 1)).sum() / covered).item(), abs=1e-6
            )
        assert index in members[index]
        assert torch.equal(moved[index], torch.where(expected == GREY, 255, expected.long()))


def test_a_tile_is_the_image_averaged_over_two_by_two_pixels():
    images = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8, generator=seeded())
    out, labels, _ = Mosaic(num_classes=3, margin=0.5).mix(images, torch.eye(3)[:1], None, seeded())
    half = images.float().view(1, 3, 4, 2, 4, 2).mean(dim=(3, 5)).round().to(torch.uint8)
    assert torch.equal(out, half.repeat(1, 1, 2, 2))
    assert torch.equal(labels, torch.eye(3)[:1])


def test_the_meeting_point_keeps_its_margin():
    rows, columns, members = Mosaic(num_classes=2, margin=0.25).draw(4000, 16, 32, seeded())
    assert rows.min() == 4 and rows.max() == 12 and columns.min() == 8 and columns.max() == 24
    assert torch.equal(members.sort(1).values[:, :1] >= 0, torch.ones(4000, 1, dtype=torch.bool))
    own = (members == torch.arange(4000)[:, None]).float().mean(0)
    assert (own - 0.25).abs().max() < 0.03  # any of the four corners
    tile, _ = tile_of_each_pixel(torch.tensor([2]), torch.tensor([3]), 4, 6)
    assert tile[0].tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2
