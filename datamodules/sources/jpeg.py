"""Plain JPEG files, decoded by libjpeg-turbo itself (package simplejpeg): Pillow's pixels to the bit, in less time.

Pillow has read the header before and says what is plain: baseline or progressive, 8-bit, grey or RGB. At the first
doubt, such as a warning of the library, nothing is returned and Pillow decides.
"""

import numpy as np
import simplejpeg
from PIL import Image

SHRINKS = (8, 4, 2)
"""Fractions of a side that the inverse DCT can give at once, by code for the processor's vectors. Others, such as 5/8,
take longer than the whole picture."""
SPARE = 2.0  # a decoded part keeps twice the pixels of the result, for the antialiased resize; as Pillow's reducing_gap


def is_plain(image: Image.Image) -> bool:
    """Whether an opened file may be decoded here; MPO is what phones write, a JPEG with more pictures behind it."""
    return image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L")


def shrink_for(side: float, size: int) -> int:
    """How many times smaller, 1, 2, 4 or 8, a part may be decoded that is resized from ``side`` pixels to ``size``."""
    return next((shrink for shrink in SHRINKS if side / shrink >= SPARE * size), 1)


def decode(data: bytes, image: Image.Image, shrink: int) -> np.ndarray | None:
    """Decode the first picture of a file.

    Args:
        data: the whole file.
        image: what Pillow says of it, plain.
        shrink: 1, 2, 4 or 8: sides are so many times smaller, rounded up.

    Returns:
        uint8 ``(H, W, 3)`` or ``(H, W)`` as stored, not turned; None where Pillow has to decide.
    """
    height, width = -(-image.height // shrink), -(-image.width // shrink)
    try:
        pixels = simplejpeg.decode_jpeg(
            data,
            colorspace="RGB" if image.mode == "RGB" else "GRAY",
            min_height=height if shrink > 1 else 0,
            min_width=width if shrink > 1 else 0,
            min_factor=shrink,
        )
    except (ValueError, RuntimeError, MemoryError):
        return None
    pixels = pixels if image.mode == "RGB" else pixels[..., 0]
    return pixels if pixels.shape[:2] == (height, width) else None
