import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from datamodules.batch.flip import HorizontalFlip, VerticalFlip, flip


def test_by_hand():
    image = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).view(1, 1, 2, 2).expand(2, 1, 2, 2)
    chosen = torch.tensor([True, False])
    assert flip(image, chosen, dim=-1)[:, 0].tolist() == [[[2, 1], [4, 3]], [[1, 2], [3, 4]]]
    assert flip(image, chosen, dim=-2)[:, 0].tolist() == [[[3, 4], [1, 2]], [[1, 2], [3, 4]]]


@pytest.mark.parametrize("shape", [(3, 9, 7), (3, 128, 131), (1, 140, 130)])  # the last two go image by image
def test_equals_torchvision_image_by_image_at_the_same_draw(shape):
    images = torch.randint(0, 256, (50, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for operation, reference in ((HorizontalFlip(), v2.horizontal_flip), (VerticalFlip(), v2.vertical_flip)):
        chosen = operation.draw(50, torch.Generator().manual_seed(3))
        assert 10 < chosen.sum() < 40
        expected = torch.stack([reference(one) if hit else one for one, hit in zip(images, chosen, strict=True)])
        out, _, _ = operation(images, torch.zeros(50), generator=torch.Generator().manual_seed(3))
        assert torch.equal(out, expected)
