"""Files as disks and networks leave them: real pictures, mutated with a fixed seed."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _written(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def _mutated(whole: bytes, how: str, draws: random.Random) -> bytes:
    data = bytearray(whole)
    if how == "cut":
        return bytes(data[: draws.randrange(1, len(data))])
    if how == "bits":
        for _ in range(draws.choice((1, 4, 40))):
            data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
    if how == "magic":
        data[: draws.choice((2, 4, 8))] = draws.choice(
            (b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"II*\0", b"BM")
        )
    if how == "zeros":
        start = draws.randrange(len(data))
        data[start : start + draws.randrange(1, 400)] = bytes(min(len(data) - start, 200))
    if how == "noise":
        start = draws.randrange(len(data))
        data[start : start + 64] = draws.randbytes(64)
    return b"" if how == "empty" else b"this is a text, not a picture\n" * 9 if how == "text" else bytes(data)


KINDS = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif"}
MUTATIONS = (*("cut", "bits", "magic", "zeros", "noise") * 3, "empty", "text")


@pytest.fixture(scope="session")
def mutate() -> Callable[[Path, int], list[str]]:
    """Write so many mutated pictures into a folder; returns their names."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images

    def write(folder: Path, count: int) -> list[str]:
        folder.mkdir(parents=True)
        draws = random.Random(0)
        names = []
        for number in range(count):
            kind, how = list(KINDS)[number % len(KINDS)], draws.choice(MUTATIONS)
            top, left = draws.randrange(300), draws.randrange(500)
            image = Image.fromarray(photos[number % 2][top : top + 40, left : left + 50])
            if kind == "GIF" or draws.random() < 0.2:
                image = image.convert("L")
            names.append(f"{number:04d} {how}{KINDS[kind]}")
            (folder / names[-1]).write_bytes(_mutated(_written(image, kind), how, draws))
        return names

    return write


@pytest.fixture(scope="session")
def bombs() -> dict[str, bytes]:
    """Files of a few bytes that claim thousands of megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 50_000
    pixels = zlib.compress(bytes(1_000_000), 9)
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    gif = bytearray(_written(Image.new("L", (9, 9)), "GIF"))
    gif[6:10] = struct.pack("<HH", side, side)
    bmp = bytearray(_written(Image.new("RGB", (9, 9)), "BMP"))
    bmp[18:26] = struct.pack("<ii", side, side)
    tiff = _written(Image.fromarray(np.zeros((9, 9), np.uint8)), "TIFF")
    for tag in (256, 257):  # width and length; short or long values in the directory
        for code, size in ((3, "<H"), (4, "<I")):
            for old in (struct.pack("<HHI", tag, code, 1) + struct.pack(size, 9),):
                new = struct.pack("<HHI", tag, code, 1) + struct.pack(size, side)
                tiff = tiff.replace(old, new)
    return {"bomb.png": png, "bomb.gif": bytes(gif), "bomb.bmp": bytes(bmp), "bomb.tif": tiff}
