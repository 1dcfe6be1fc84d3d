"""Several views of one image for scoring it: crops, mirror images, scales. Nothing here is random.

Pure functions from uint8 images to uint8 views at the size that a net reads; the average over them is the net's side
(`models/inference.py`). Five and ten crops after A. Krizhevsky et al., ImageNet Classification with Deep Convolutional
Neural Networks (2012), as torchvision cuts them.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from configs.preprocessing import Preprocessing
from datamodules.transforms import fit_to, with_channels

CROP_FRACTION = 0.875
"""Side of a crop for nets that see the whole image: 224 of 256, as usual."""
SCALES = (1.0, 1.125, 1.25)


def cut_views(
    images: torch.Tensor,
    *,
    name: str,
    preprocessing: Preprocessing,
    crop_fraction: float | None = None,
    scales: Sequence[float] = SCALES,
) -> torch.Tensor:
    """Cut the views of a batch.

    Args:
        images: uint8 ``(B, C, H, W)``, C 1 or 3.
        name: centre, five_crop, ten_crop, flip or multi_scale.
        preprocessing: sizes in pixels, interpolation, channels.
        crop_fraction: side of a crop as a share of the image's, for the crops; None means the share that the
            preprocessing cuts, or `CROP_FRACTION` where it takes the whole image.
        scales: enlargements, at least 1, for `multi_scale`.

    Returns:
        uint8 ``(B, V, channels, image_size, image_size)``; of `centre` the one view is what `fit_to` gives.
    """
    if name in ("five_crop", "ten_crop"):
        return _crops(images, preprocessing, crop_fraction, mirrored=name == "ten_crop")
    if name == "multi_scale":
        sized = [replace(preprocessing, resize=round(preprocessing.resize * scale)) for scale in scales]
        return torch.stack([fit_to(images, one) for one in sized], dim=1)
    fitted = fit_to(images, preprocessing)
    if name == "flip":
        return torch.stack([fitted, fitted.flip(-1)], dim=1)
    if name == "centre":
        return fitted[:, None]
    raise ValueError(f"unknown views {name!r}")


def _crops(
    images: torch.Tensor, preprocessing: Preprocessing, fraction: float | None, *, mirrored: bool
) -> torch.Tensor:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as v2

    size = preprocessing.image_size
    if fraction is None:
        fraction = size / preprocessing.resize if preprocessing.resize > size else CROP_FRACTION
    interpolation = InterpolationMode(preprocessing.interpolation)
    images = v2.resize(images, [max(size, round(size / fraction))], interpolation=interpolation, antialias=True)
    images = with_channels(images, preprocessing.channels)
    return torch.stack(v2.ten_crop(images, [size]) if mirrored else v2.five_crop(images, [size]), dim=1)
