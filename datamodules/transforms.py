"""The evaluation pipeline: resize -> centre crop -> channels -> float -> normalise.

Pure functions of the images and a `Preprocessing`; no random operation is reachable from here.
"""

from functools import lru_cache

import torch

from settings.preprocessing import Preprocessing

ONE_BY_ONE = 96 * 96
"""Pixels from which on images are normalised one by one on the CPU: 0.75 of the time."""


def fit_to(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Resize the short side (antialiased), crop the centre, adapt the channels.

    Args:
        images: uint8 ``(B, C, H, W)``, C 1 or 3.
        preprocessing: sizes in pixels, the interpolation, the channels.

    Returns:
        uint8 ``(B, channels, image_size, image_size)``; the input itself where nothing has to change.
    """
    return with_channels(_fitted(images, preprocessing, preprocessing.interpolation), preprocessing.channels)


def fit_masks(masks: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Bring masks ``(B, H, W)`` to the size that `fit_to` brings their images to, by the nearest pixel."""
    return _fitted(masks[:, None], preprocessing, "nearest-exact")[:, 0]


def _fitted(images: torch.Tensor, preprocessing: Preprocessing, interpolation: str) -> torch.Tensor:
    height, width = images.shape[-2:]
    size = preprocessing.image_size
    if min(height, width) == preprocessing.resize and (height, width) == (size, size):
        return images
    # Imported where it is used: torchvision costs a second, and most runs train at the data's own size.
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as v2

    mode = InterpolationMode(interpolation)
    images = v2.resize(images, [preprocessing.resize], interpolation=mode, antialias=True)
    return v2.center_crop(images, [size, size])


def unfit_mask(
    mask: torch.Tensor, height: int, width: int, preprocessing: Preprocessing, *, outside: int
) -> torch.Tensor:
    """Lay a mask of the net's pixels back over the picture that `fit_to` made them of.

    Args:
        mask: uint8 ``(image_size, image_size)``.
        height: of the picture.
        width: of the picture.
        preprocessing: how it was fitted.
        outside: what pixels get that the centre crop left out.

    Returns:
        uint8 ``(height, width)``.
    """
    size = preprocessing.image_size
    if (height, width) == (size, size) and preprocessing.resize == size:
        return mask
    scale = preprocessing.resize / min(height, width)
    tall, wide = max(size, round(height * scale)), max(size, round(width * scale))
    canvas = torch.full((tall, wide), outside, dtype=torch.uint8)
    top, left = round((tall - size) / 2), round((wide - size) / 2)
    canvas[top : top + size, left : left + size] = mask
    rows = ((torch.arange(height) + 0.5) * tall / height).long().clamp_max(tall - 1)
    columns = ((torch.arange(width) + 0.5) * wide / width).long().clamp_max(wide - 1)
    return canvas[rows][:, columns]


def normalise(images: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Map uint8 ``(B, C, H, W)`` to float32 ``(x / 255 - mean) / std``, a mean and a std a channel.

    Computed as ``x * scale + bias`` with ``scale = 1 / (255 std)`` and ``bias = -mean / std``.
    """
    scale, bias = _scale_and_bias(preprocessing, images.device)
    # In place, as another buffer would drive the first out of the cache; with numbers for a row or for all places, as
    # torch has no vector code for one number a channel. Together 0.4 of the time.
    if images.device.type == "cpu" and images.shape[-2] * images.shape[-1] >= ONE_BY_ONE:
        scale, bias = (one.expand(-1, 1, images.shape[-1]).contiguous() for one in (scale, bias))
        normalised = torch.empty(images.shape, dtype=torch.float32)
        for image, into in zip(images.unbind(), normalised.unbind(), strict=True):
            torch.addcmul(bias, into.copy_(image), scale, out=into)
        return normalised
    scale, bias = (one.expand(images.shape[1:]).contiguous() for one in (scale, bias))
    normalised = images.to(torch.float32, copy=True)
    return torch.addcmul(bias, normalised, scale, out=normalised)


@lru_cache(maxsize=16)
def _scale_and_bias(preprocessing: Preprocessing, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    # From Python's doubles, so that only one rounding separates them from the exact numbers.
    scale, bias = (torch.tensor(one, device=device).view(-1, 1, 1) for one in (preprocessing.scale, preprocessing.bias))
    return scale, bias  # (C, 1, 1)


def with_channels(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Repeat grey to RGB, or take the luma of RGB (ITU-R 601, as torchvision and PIL do)."""
    if images.shape[1] == channels:
        return images
    if (images.shape[1], channels) == (1, 3):
        return images.expand(-1, 3, -1, -1)
    if (images.shape[1], channels) == (3, 1):
        from torchvision.transforms.v2 import functional as v2

        return v2.rgb_to_grayscale(images)
    raise ValueError(f"images have {images.shape[1]} channels and {channels} are asked for: only 1 <-> 3 is known")
