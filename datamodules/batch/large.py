"""The 15 operations and mirrors of one large image on the CPU, equal to torchvision's to the bit.

At 224 pixels a batch no longer fits a processor's cache, and sorting it costs more than it saves. So each image is
changed by itself: what depends on a pixel's level alone by a table of 256 levels, a move by the map of where each
pixel comes from. Tables and maps are torchvision's own results, of all levels and of a picture of pixel numbers.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

SMALL = 96 * 96
"""Pixels up to which a batch is sorted: there both take the same time; at 112 a side this takes 0.67, at 224 0.37."""
MAPS = 64  # kept, of 8 bytes a pixel; RandAugment needs 10, AutoAugment 18 to 34

Change = Callable[..., torch.Tensor]


def is_large(images: torch.Tensor) -> bool:
    """Whether uint8 ``(B, C, H, W)`` is worth going through image by image."""
    return images.device.type == "cpu" and images.shape[-2] * images.shape[-1] > SMALL


def mirror_large(images: torch.Tensor, chosen: torch.Tensor, *, across: bool) -> torch.Tensor:
    """Mirror the uint8 images where ``chosen`` is true, left-right (across) or top-bottom."""
    import cv2

    images = images.contiguous()
    mirrored = torch.empty_like(images)
    for image, into, turned in zip(images.numpy(), mirrored.numpy(), chosen.tolist(), strict=True):
        for plane, result in zip(image, into, strict=True):
            if turned:
                cv2.flip(plane, int(across), dst=result)
            else:
                result[:] = plane
    return mirrored


def change_large(
    image: torch.Tensor,
    name: str,
    change: Change,
    strength: float,
    *,
    geometric: bool,
    into: torch.Tensor,
    mapped: bool,
) -> None:
    """Change one image by an operation, a move by the nearest pixel.

    Args:
        image: uint8 ``(C, H, W)``, C 1 or 3, on the CPU, contiguous; stays as it is.
        name: of the operation in `KINDS`.
        change: what it does to a batch.
        strength: in its unit.
        geometric: whether it moves pixels.
        into: gets the result; contiguous, too.
        mapped: moves are by maps that are kept, which pays where the same strengths come again.
    """
    if name in ("translate_x", "translate_y"):
        _shift(image, int(strength), into, across=name == "translate_x")
    elif geometric and not mapped:
        into.copy_(change(image[None], strength)[0])
    elif geometric:
        _move(image, index_map(name, change, strength, *image.shape[-2:]), into)
    elif name in BY_BITS:
        BY_BITS[name](image.numpy(), strength, into.numpy())
    elif name in BY_LEVEL:
        look_up(image, level_table(name, change, strength), into=into)
    elif name in BY_IMAGE:
        look_up(image, BY_IMAGE[name](image, change, strength), into=into)
    elif name == "color" and len(image) == 3:
        factor = 1 + strength
        pixels = image.to(torch.float32)
        greys = grey(pixels)
        _round_down(pixels.mul_(factor).add_(greys, alpha=1.0 - factor), into)
    elif name == "sharpness" and min(image.shape[-2:]) > 2:
        _sharpen(image, 1 + strength, into)
    else:
        into.copy_(image)


def look_up(image: torch.Tensor, table: np.ndarray, *, into: torch.Tensor) -> None:
    """Replace each level by its entry of ``table``, uint8 ``(256,)``, or ``(C, 256)`` for each channel its own."""
    import cv2

    pixels, changed = image.numpy(), into.numpy()
    if table.ndim == 1:
        cv2.LUT(pixels.reshape(-1, pixels.shape[-1]), table, dst=changed.reshape(-1, pixels.shape[-1]))
    else:
        for plane, own, result in zip(pixels, table, changed, strict=True):
            cv2.LUT(plane, own, dst=result)


@lru_cache(maxsize=64)
def level_table(name: str, change: Change, strength: float) -> np.ndarray:
    """What the operation makes of each level: uint8 ``(256,)``."""
    return change(torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16), strength).numpy().reshape(256)


@lru_cache(maxsize=MAPS)
def index_map(name: str, change: Change, strength: float, height: int, width: int) -> np.ndarray:
    """Where each pixel comes from: its number, int64 ``(H * W,)``; outside it is H * W.

    Read off a picture of pixel numbers; float32 holds all below 2^24.
    """
    numbers = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, 1, height, width)
    came = change(numbers, strength).long().view(-1).numpy()
    return np.where(came > 0, came - 1, height * width)


def _move(image: torch.Tensor, source: np.ndarray, into: torch.Tensor) -> None:
    """Take each pixel from its source; the three colours of one at once, as a number of 32 bits."""
    import cv2

    channels, height, width = image.shape
    if channels == 1:
        np.take(np.append(image.numpy(), np.uint8(0)), source, out=into.view(-1).numpy(), mode="wrap")
        return
    pixels = np.empty((height * width + 1, 4), dtype=np.uint8)
    pixels[-1] = 0  # black, from outside
    # `merge` would write past the processor's cache, and `take` wait for memory: four times as long.
    cv2.mixChannels(list(image.numpy()), [pixels[:-1].reshape(height, width, 4)], [0, 0, 1, 1, 2, 2])
    moved = np.take(pixels.view(np.uint32)[:, 0], source, mode="wrap").view(np.uint8).reshape(height, width, 4)
    spare = pixels.reshape(-1)[: height * width].reshape(height, width)  # `split` wants a place for all four
    cv2.split(moved, [*into.numpy(), spare])


def _shift(image: torch.Tensor, pixels: int, into: torch.Tensor, *, across: bool) -> None:
    """Move everything to the right, or down; black comes in."""
    lines, moved = (one.transpose(1, 2) if across else one for one in (image, into))
    count = lines.shape[1]
    pixels = max(-count, min(pixels, count))
    moved.zero_()
    moved[:, max(pixels, 0) : count + min(pixels, 0)] = lines[:, max(-pixels, 0) : count - max(pixels, 0)]


def _sharpen(image: torch.Tensor, factor: float, into: torch.Tensor) -> None:
    """As `kinds.sharpness`; sums of 3 x 3 whole numbers are exact in float32."""
    import cv2

    pixels = image.to(torch.float32)
    blurred = torch.empty_like(pixels)
    for plane, sums in zip(image.numpy(), blurred.numpy(), strict=True):
        cv2.boxFilter(plane, cv2.CV_32F, (3, 3), dst=sums, normalize=False)
    blurred.add_(pixels, alpha=4).div_(13).round_().sub_(pixels)
    _round_down(pixels.add_(blurred, alpha=1 - factor), into)
    before, after = image.numpy(), into.numpy()
    for edge in ((..., 0, slice(None)), (..., -1, slice(None)), (..., 0), (..., -1)):
        after[edge] = before[edge]


def _posterize(pixels: np.ndarray, bits: float, into: np.ndarray) -> None:
    np.bitwise_and(pixels, np.uint8(256 - 2 ** (8 - round(bits))), out=into)


def _solarize(pixels: np.ndarray, share: float, into: np.ndarray) -> None:
    """As `kinds.solarize`: from the threshold on all bits are turned."""
    threshold = math.ceil(np.float32(share * 255))  # torch compares with that
    bright = into.view(np.bool_)
    np.greater_equal(pixels, np.uint8(threshold), out=bright)
    np.negative(into, out=into)  # 1 -> 255
    np.bitwise_xor(pixels, into, out=into)


def _invert(pixels: np.ndarray, strength: float, into: np.ndarray) -> None:
    np.invert(pixels, out=into)


def _round_down(values: torch.Tensor, into: torch.Tensor) -> None:
    """Clip to 0..255 and cut the fraction off; NumPy does that in a fifth of torch's time."""
    np.copyto(into.numpy(), values.clamp_(0, 255).numpy(), casting="unsafe")


def _contrast(image: torch.Tensor, change: Change, strength: float) -> np.ndarray:
    """Levels move away from the mean grey, or towards it."""
    levels = torch.arange(256, dtype=torch.uint8)
    factor = 1 + strength
    mean = grey(image.to(torch.float32)).mean()
    return levels.mul(factor).add_(mean, alpha=1.0 - factor).clamp_(0, 255).to(torch.uint8).numpy()


def _autocontrast(image: torch.Tensor, change: Change, strength: float) -> np.ndarray:
    """The result of all levels between a channel's least and greatest is that of the channel."""
    import cv2

    ends = [cv2.minMaxLoc(plane)[:2] for plane in image.numpy()]
    return np.stack([spread(change, int(low), int(high)) for low, high in ends])


@lru_cache(maxsize=4096)
def spread(change: Change, low: int, high: int) -> np.ndarray:
    """What autocontrast makes of the levels from ``low`` to ``high``: uint8 ``(256,)``."""
    levels = torch.arange(256, dtype=torch.uint8).clamp_(low, high)
    return change(levels.view(1, 1, 16, 16), 0.0).numpy().reshape(256)


def _equalize(image: torch.Tensor, change: Change, strength: float) -> np.ndarray:
    """Pillow's table: the count of darker pixels, in steps of a 255th of all but the brightest level's."""
    import cv2

    counted = [cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel() for plane in image.numpy()]
    counts = np.stack(counted).astype(np.int64)  # (C, 256)
    brightest = 255 - (counts[:, ::-1] > 0).argmax(axis=1)
    steps = (image[0].numel() - counts[np.arange(len(counts)), brightest]) // 255
    darker = counts.cumsum(axis=1) - counts
    steps = steps[:, None]
    tables = ((darker + steps // 2) // np.maximum(steps, 1)).clip(0, 255)
    return np.where(steps > 0, tables, np.arange(256)).astype(np.uint8)


BY_BITS = {"posterize": _posterize, "solarize": _solarize, "invert": _invert}
BY_LEVEL = ("brightness",)
BY_IMAGE: dict[str, Callable[..., np.ndarray]] = {
    "contrast": _contrast,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}


def grey(pixels: torch.Tensor) -> torch.Tensor:
    """Torchvision's whole-numbered luma of float32 ``(C, H, W)``, C 1 or 3: ``(H, W)``."""
    if len(pixels) == 1:
        return pixels[0]
    red, green, blue = pixels
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()
