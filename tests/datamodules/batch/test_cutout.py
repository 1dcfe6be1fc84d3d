import numpy as np
import pytest
import torch

from datamodules.batch.boxes import Boxes
from datamodules.batch.cutout import Cutout, cutout
from settings.errors import UserError


def noise(n=60, channels=3, height=16, width=24):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def test_by_hand():
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    holes = Boxes(*(torch.tensor([edges]) for edges in ([-1, 2], [1, 3], [0, 2], [2, 4])))
    assert cutout(image, holes)[0, 0].tolist() == [[0, 0, 3], [4, 5, 6], [7, 8, 0]]
    assert cutout(image, holes, value=128)[0, 0, 0].tolist() == [128, 128, 3]


def test_equals_the_authors_code_at_the_same_centres():
    """The loop of github.com/uoguelph-mlrg/Cutout, `util/cutout.py`."""
    images = noise()
    operation = Cutout(holes=2, side=0.25, p=0.7)
    drawn = operation.draw(60, 16, 24, torch.Generator().manual_seed(5))
    out, targets, _ = operation(images, torch.arange(60), generator=torch.Generator().manual_seed(5))
    assert torch.equal(targets, torch.arange(60))
    tall, wide = 4, 6
    untouched = 0
    for index, image in enumerate(images):
        mask = np.ones((16, 24), np.uint8)
        if drawn.top[index, 0] == drawn.bottom[index, 0]:
            untouched += 1
        else:
            for hole in range(2):
                y, x = int(drawn.top[index, hole]) + tall // 2, int(drawn.left[index, hole]) + wide // 2
                assert 0 <= y < 16 and 0 <= x < 24
                y1, y2 = np.clip(y - tall // 2, 0, 16), np.clip(y + tall // 2, 0, 16)
                x1, x2 = np.clip(x - wide // 2, 0, 24), np.clip(x + wide // 2, 0, 24)
                mask[y1:y2, x1:x2] = 0
        assert torch.equal(out[index], image * torch.from_numpy(mask))
    assert 5 < untouched < 35


def test_centres_are_uniform():
    drawn = Cutout(side=0.25).draw(16_000, 16, 8, torch.Generator().manual_seed(0))
    for start, pixels, side in ((drawn.top, 4, 16), (drawn.left, 2, 8)):
        counts = (start[:, 0] + pixels // 2).bincount()
        assert len(counts) == side
        assert ((counts - 16_000 / side) ** 2 / (16_000 / side)).sum() < 37.7  # 15 degrees of freedom, 1 in 1000


def test_a_side_that_rounds_to_nothing_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"side=0\.05 is 0 of 8 pixels"):
        Cutout(side=0.05).draw(4, 8, 8, torch.Generator())
