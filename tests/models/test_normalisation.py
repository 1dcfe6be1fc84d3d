"""A net's own normalisation gives the bits of the run's batches, and its reverse gives the pixels back."""

import pytest
import torch

from datamodules.transforms import normalise
from models.normalisation import Normalise, before_normalising
from settings.preprocessing import Preprocessing

RGB = {"channels": 3, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
GREY = {"channels": 1, "mean": (0.286,), "std": (0.353,)}


@pytest.mark.parametrize("side", [8, 128])
@pytest.mark.parametrize("stats", [RGB, GREY])
def test_the_same_pixels_give_the_same_bits(stats, side):
    how = Preprocessing(image_size=side, resize=side, interpolation="bilinear", **stats)
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, how.channels, side, side), dtype=torch.uint8, generator=draws)
    found = Normalise(how)(images)
    assert torch.equal(found, normalise(images, how))
    mean, std = (torch.tensor(one, dtype=torch.float64).view(-1, 1, 1) for one in (how.mean, how.std))
    assert torch.allclose(found.double(), (images.double() / 255 - mean) / std, atol=1e-6)
    assert torch.equal(before_normalising(found, mean.float(), std.float()), images)
