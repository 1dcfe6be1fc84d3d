"""One image file -> uint8 pixels, upright, whatever its format and mode; or the reason why not.

Read by Pillow: it gave an exception where torchvision's PNG decoder crashed the process and OpenCV returned half an
image without a word. Plain JPEG files go through `jpeg`, which gives Pillow's pixels. Transparency is dropped, as
torchvision's own folders do; of an animation the first frame counts.
"""

import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps

from datamodules.sources import jpeg
from settings.errors import TooManyBadFiles

MAX_PIXELS = 100_000_000  # refused by their header: 300 MB of memory an image
# Formats that hold pixels. Not among them: EPS, PDF, WMF and such, which hand the file to another program.
FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "TGA", "PCX", "ICO"),
    *("ICNS", "SGI", "SUN", "QOI", "DDS", "IM", "MSP", "XBM", "PSD"),
)
FORBIDDEN = "may not be read"  # the one reason that can pass without a change of the file
NARROW = "too narrow"  # would be huge once its short side has the size that was asked for
REASONS = (
    *("damaged", "empty file", "not an image", "not there", FORBIDDEN, "no pixels", NARROW),
    f"more than {MAX_PIXELS // 1_000_000} megapixels",
    *("float values outside 0..1 and 0..255", "32-bit values outside 0..65535"),
)
"""Why a picture is refused, the general one first: a worker tells the run which by its number."""
# What Pillow raises on damaged files.
ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, TypeError, IndexError, KeyError),
    *(OverflowError, ZeroDivisionError, AttributeError, NotImplementedError, Image.DecompressionBombError),
)


ORIENTATION = 0x0112  # the EXIF tag
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, 3),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""How ``(H, W, ...)`` pixels are made upright."""
Shrink = Callable[[int, int], int]
"""From the height and width of an upright picture to how many times smaller it may be decoded: 1, 2, 4 or 8."""


class Refused(ValueError):
    """A file that is left out, with the reason in a few words that many files can share."""


class BrokenImage(TooManyBadFiles):
    """A file that could not be read any more when its turn came, where none is spared.

    A loader's worker hands an exception over as the text of its traceback, of which the last line says it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().splitlines()[-1].rpartition("BrokenImage: ")[2])


def endings() -> frozenset[str]:
    """Return the file endings of the known formats, in small letters, with their dot."""
    known = (*_formats(), "MPO")  # which Pillow's JPEG reader opens
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in known)


def check_header(path: Path) -> tuple[int, int]:
    """Return (width, height) without decoding.

    Raises:
        Refused: no image, or larger than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        return image.size


def read_picture(path: Path, channels: int, shrink: Shrink | None = None) -> torch.Tensor:
    """Decode a file.

    Args:
        path: the file; its content says its format, not its ending.
        channels: 3 for RGB, 1 for grey.
        shrink: asked how many times smaller the picture may be; only of files that are decoded faster for it. Without
            it, and of all others, come all pixels.

    Returns:
        uint8 ``(channels, H, W)``, turned as its EXIF orientation says; of a colour file in the order of its pixels,
        which is how it is resized fastest.

    Raises:
        Refused: it is no image, damaged, too large, or of a kind that has no 8-bit meaning.
    """
    try:
        with _opened(path) as opened:
            pixels = _plain(opened, channels, shrink) if jpeg.is_plain(opened) else None
            if pixels is None:
                opened.load()
                image = _in_eight_bits(_upright(opened)).convert("RGB" if channels == 3 else "L")
                pixels = np.array(image)
    except Refused:
        raise
    except ERRORS as error:
        raise Refused(_reason(error)) from error
    found = torch.from_numpy(pixels)
    return found.permute(2, 0, 1) if channels == 3 else found[None]


def _plain(opened: ImageFile.ImageFile, channels: int, shrink: Shrink | None) -> np.ndarray | None:
    """Decode a plain JPEG file to ``(H, W, 3)`` or ``(H, W)``, or leave it to Pillow."""
    try:
        orientation = opened.getexif().get(ORIENTATION, 1)
    except ERRORS:  # as in `_upright`
        orientation = 1
    times = 1
    if shrink is not None:
        width, height = opened.size
        times = shrink(width, height) if orientation in (5, 6, 7, 8) else shrink(height, width)
    assert opened.fp is not None
    opened.fp.seek(0)
    pixels = jpeg.decode(opened.fp.read(), opened, times)
    if pixels is None:
        return None
    if channels == 1 and pixels.ndim == 3:
        pixels = np.array(Image.fromarray(pixels).convert("L"))  # as of other files; not this one's own luma
    elif channels == 3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    turn = TURNS.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _opened(path: Path) -> ImageFile.ImageFile:
    try:
        if path.stat().st_size == 0:
            raise Refused("empty file")
        image = Image.open(path, formats=_formats())
    except Refused:
        raise
    except ERRORS as error:
        raise Refused(_reason(error)) from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise Refused(f"more than {MAX_PIXELS // 1_000_000} megapixels")
    if not image.width * image.height:
        image.close()
        raise Refused("no pixels")
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except ERRORS:  # the tags are damaged, the pixels are not
        return image


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Scale what Pillow would clip: 16-bit grey turns all white, floats from 0 to 1 all black."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        low, high = values.min(), values.max()
        if image.mode != "F" and low >= 0 and high <= 65535:
            values /= 257  # 65535 -> 255
        elif image.mode == "F" and low >= 0 and high <= 1:
            values *= 255
        elif not (image.mode == "F" and low >= 0 and high <= 255):  # NaN comes here, too
            range_ = "0..1 and 0..255" if image.mode == "F" else "0..65535"
            raise Refused(f"{'float' if image.mode == 'F' else '32-bit'} values outside {range_}")
        return Image.fromarray(np.rint(values).astype(np.uint8))
    if image.mode in ("P", "PA", "RGBa", "La"):  # a palette's own transparency is said in ways that convert warns of
        return image.convert("LA" if image.mode == "La" else "RGBA")
    return image


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "not there"
    if isinstance(error, PermissionError):
        return FORBIDDEN
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS // 1_000_000} megapixels"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    return "damaged"
