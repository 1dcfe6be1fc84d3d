import torch

from datamodules.batch.boxes import Boxes, covered


def test_by_hand():
    boxes = Boxes(*(torch.tensor([edge]) for edge in (1, 3, -2, 2)))
    assert covered(boxes, 4, 3)[0].int().tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_equals_slicing():
    draws = torch.Generator().manual_seed(0)
    top, left = torch.randint(0, 9, (40, 2), generator=draws), torch.randint(0, 7, (40, 2), generator=draws)
    boxes = Boxes(top, top + 3, left, left + 2)
    out = covered(boxes, 9, 7)
    assert out.shape == (40, 2, 9, 7)
    for image in range(40):
        for box in range(2):
            expected = torch.zeros(9, 7, dtype=torch.bool)
            expected[top[image, box] : top[image, box] + 3, left[image, box] : left[image, box] + 2] = True
            assert torch.equal(out[image, box], expected)
