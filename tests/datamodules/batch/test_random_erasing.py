import math

import pytest
import torch
from torchvision.transforms import v2

from datamodules.batch.random_erasing import RandomErasing


def test_equals_torchvisions_erase_at_the_same_draw():
    noise = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (80, 3, 20, 28), dtype=torch.uint8, generator=noise)
    operation = RandomErasing(p=0.6, value=7)
    boxes = operation.draw(80, 20, 28, torch.Generator().manual_seed(1))
    out, _, _ = operation(images, torch.zeros(80), generator=torch.Generator().manual_seed(1))
    for index, image in enumerate(images):
        top, bottom, left, right = (int(edge[index]) for edge in boxes)
        value = torch.tensor(7, dtype=torch.uint8)
        assert torch.equal(out[index], v2.functional.erase(image, top, left, bottom - top, right - left, value))


def test_rectangles_are_drawn_as_torchvision_draws_them():
    """Areas and proportions against torchvision's own draws: two samples of 3,000, their quartiles apart by chance."""
    torch.manual_seed(0)
    reference = v2.RandomErasing(p=1, scale=(0.02, 0.33), ratio=(1 / 3.3, 3.3))
    theirs = [reference.make_params([torch.zeros(3, 64, 64)]) for _ in range(3000)]
    theirs = torch.tensor([[one["h"], one["w"], one["i"], one["j"]] for one in theirs]).float()
    boxes = RandomErasing(p=1, elongation=3.3).draw(3000, 64, 64, torch.Generator().manual_seed(0))
    ours = torch.stack([boxes.bottom - boxes.top, boxes.right - boxes.left, boxes.top, boxes.left], 1).float()
    for quantity in (
        lambda b: b[:, 0] * b[:, 1],
        lambda b: (b[:, 0] / b[:, 1]).log(),
        lambda b: b[:, 2],
        lambda b: b[:, 3],
    ):
        first, second = quantity(ours).sort().values, quantity(theirs).sort().values
        grid = torch.cat([first, second])
        steps = [torch.searchsorted(one, grid, right=True) / 3000 for one in (first, second)]
        assert (steps[0] - steps[1]).abs().max() < 1.95 * math.sqrt(2 / 3000)  # Kolmogorov and Smirnov, 1 in 1000


def test_rectangles_lie_inside():
    boxes = RandomErasing(p=1).draw(5000, 8, 12, torch.Generator().manual_seed(0))
    assert boxes.top.min() == 0 and boxes.left.min() == 0
    assert boxes.bottom.max() == 8 and boxes.right.max() == 12
    assert (boxes.bottom > boxes.top).float().mean() > 0.99


def test_the_least_area_is_at_most_the_greatest():
    with pytest.raises(ValueError, match=r"got 0\.5 and 0\.1"):
        RandomErasing(smallest=0.5, largest=0.1)
