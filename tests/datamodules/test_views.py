"""Several views of an image: crops are torchvision's, shifts and mirrors are done by hand."""

from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_sample_images
from torchvision.transforms.v2 import FiveCrop, TenCrop
from torchvision.transforms.v2 import functional as v2

from datamodules.transforms import fit_to
from datamodules.views import cut_views
from settings.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    image_size=24, resize=28, interpolation="bilinear", channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)
)


def images() -> torch.Tensor:
    """Six pieces of two photos, uint8 (6, 3, 60, 90)."""
    photos = [torch.from_numpy(photo.copy()).permute(2, 0, 1) for photo in load_sample_images().images]
    return torch.stack([photo[:, row : row + 60, row : row + 90] for row in (20, 120, 220) for photo in photos])


@pytest.mark.parametrize(("resize", "fraction", "side"), [(28, None, 28), (24, None, 27), (24, 0.6, 40)])
def test_crops_are_those_of_torchvision(resize, fraction, side):
    preprocessing = replace(PREPROCESSING, resize=resize)
    resized = v2.resize(images(), [side], antialias=True)
    for name, theirs in (("five_crop", FiveCrop(24)), ("ten_crop", TenCrop(24))):
        views = cut_views(images(), name=name, preprocessing=preprocessing, crop_fraction=fraction)
        assert torch.equal(views, torch.stack(theirs(resized), dim=1))


def test_shifted_views_are_moved_by_a_pixel_with_mirrored_borders_then_mirrored():
    fitted = fit_to(images(), PREPROCESSING)
    views = cut_views(images(), name="flip_shift", preprocessing=PREPROCESSING)
    padded = torch.nn.functional.pad(fitted.float(), (1, 1, 1, 1), mode="reflect").to(torch.uint8)
    expected = [fitted, padded[..., 2:, 2:], padded[..., :-2, :-2]]
    expected += [view.flip(3) for view in expected]
    assert views.shape == (6, 6, 3, 24, 24)
    assert torch.equal(views, torch.stack(expected, dim=1))


def test_flip_and_scales_are_what_they_are_called():
    fitted = fit_to(images(), PREPROCESSING)
    flip = cut_views(images(), name="flip", preprocessing=PREPROCESSING)
    assert torch.equal(flip[:, 0], fitted) and torch.equal(flip[:, 1], fitted.flip(3))
    scaled = cut_views(images(), name="multi_scale", preprocessing=PREPROCESSING, scales=(1, 1.5))
    assert torch.equal(scaled[:, 0], fitted)
    assert torch.equal(scaled[:, 1], fit_to(images(), replace(PREPROCESSING, resize=42)))
