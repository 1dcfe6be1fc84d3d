"""Folders of real pictures: each written in every format and mode that people have, beside a clean twin in PNG."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.fashion_mnist import DEBIAN_FOLDER, FashionMNIST

CLASSES = ("1", "2", "10")  # natural order; plain sorting would give 1, 10, 2


def _orient(image: Image.Image, tag: int) -> tuple[Image.Image, Image.Exif]:
    """Turn an upright image so that a viewer that heeds the tag shows it upright."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = tag
    return (image if tag == 1 else image.transpose(undo[tag])), exif


def _animated(image: Image.Image, path: Path, **arguments) -> None:
    image.save(path, save_all=True, append_images=[Image.new(image.mode, image.size, 255)], duration=50, **arguments)


def _array(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


# name of a kind -> (ending, how a grey 8-bit image is written); "~" marks those that lose a little
WRITERS = {
    "L": (".png", lambda image, path: image.save(path)),
    "LA": (".png", lambda image, path: image.convert("LA").save(path)),
    "RGB": (".PNG", lambda image, path: image.convert("RGB").save(path)),
    "RGBA": (".png", lambda image, path: image.convert("RGBA").save(path)),
    "P": (".png", lambda image, path: image.convert("P").save(path)),
    "P with transparency": (".png", lambda image, path: image.convert("P").save(path, transparency=bytes([9, 255]))),
    "16-bit": (".png", lambda image, path: Image.fromarray(_array(image).astype(np.uint16) * 257).save(path)),
    "16-bit TIFF": (".tif", lambda image, path: Image.fromarray(_array(image).astype(np.uint16) * 257).save(path)),
    "32-bit TIFF": (".tif", lambda image, path: Image.fromarray(_array(image).astype(np.int32) * 257).save(path)),
    "float 0..1": (".tiff", lambda image, path: Image.fromarray((_array(image) / 255).astype(np.float32)).save(path)),
    "float 0..255": (".tiff", lambda image, path: Image.fromarray(_array(image).astype(np.float32)).save(path)),
    "CMYK TIFF": (".tif", lambda image, path: image.convert("RGB").convert("CMYK").save(path)),
    "~CMYK JPEG": (".jpg", lambda image, path: image.convert("RGB").convert("CMYK").save(path, quality=95)),
    "~JPEG": (".jpeg", lambda image, path: image.save(path, quality=95)),
    "~progressive": (".JPG", lambda image, path: image.save(path, quality=95, progressive=True)),
    "BMP": (".bmp", lambda image, path: image.save(path)),
    "GIF": (".gif", lambda image, path: image.save(path)),
    "animated GIF": (".gif", lambda image, path: _animated(image, path)),
    "animated PNG": (".png", lambda image, path: _animated(image, path)),
    "WebP": (".webp", lambda image, path: image.convert("RGB").save(path, lossless=True)),
    "animated WebP": (".webp", lambda image, path: _animated(image.convert("RGB"), path, lossless=True)),
    "TIFF LZW": (".tiff", lambda image, path: image.save(path, compression="tiff_lzw")),
    "two-page TIFF": (".tif", lambda image, path: _animated(image, path)),
    "PGM": (".pgm", lambda image, path: image.save(path)),
    "PPM": (".ppm", lambda image, path: image.convert("RGB").save(path)),
    "TGA": (".tga", lambda image, path: image.save(path)),
    "PCX": (".pcx", lambda image, path: image.save(path)),
    "JPEG 2000": (".jp2", lambda image, path: image.save(path, irreversible=False)),
    "PNG named .jpg": (".jpg", lambda image, path: image.save(path, format="png")),
    **{
        f"EXIF {tag}": (
            ".png",
            lambda image, path, tag=tag: (lambda o: o[0].save(path, exif=o[1]))(_orient(image, tag)),
        )
        for tag in range(1, 9)
    },
    "~EXIF 6 JPEG": (
        ".jpg",
        lambda image, path: (lambda o: o[0].save(path, exif=o[1], quality=95))(_orient(image, 6)),
    ),
    "EXIF 8 TIFF": (".tif", lambda image, path: (lambda o: o[0].save(path, exif=o[1]))(_orient(image, 8))),
}


@pytest.fixture(scope="session")
def writers() -> dict:
    """Kind of file -> (ending, writer)."""
    return WRITERS


@pytest.fixture(scope="session")
def clothes() -> dict[str, list[Image.Image]]:
    """Class name -> 100 real grey pictures of 28 x 28: trousers, sneakers and bags."""
    if not DEBIAN_FOLDER.is_dir():
        pytest.skip("dataset-fashion-mnist is not installed")
    source = FashionMNIST(root=DEBIAN_FOLDER).sources()["test"]
    found = {}
    for name, label in zip(CLASSES, (1, 7, 8), strict=True):
        numbers = (source.targets == label).nonzero()[:100, 0].tolist()
        found[name] = [Image.fromarray(source.images[number, 0].numpy()) for number in numbers]
    return found


@pytest.fixture(scope="session")
def twins(clothes, tmp_path_factory) -> tuple[Path, Path]:
    """(the folder as people have it, its clean twin): the same pictures in the same splits.

    In `Photos (2024)`: every kind of file, a class missing from validation, broken files, a text file named .jpg,
    .heic, hidden folders, files at the root, an empty class folder.
    """
    base = tmp_path_factory.mktemp("pictures")
    wild, clean = base / "Photos (2024), cats=dogs [new]", base / "clean"
    kinds = list(WRITERS.items())
    for name, images in clothes.items():
        for number, image in enumerate(images):
            split = "train" if number < 60 else "valid" if number < 80 else "test"
            if (split, name) == ("valid", "1"):
                continue  # missing from validation
            _, (ending, write) = kinds[number % len(kinds)]
            place = wild / split / name / ("deeper/still" if number % 3 else "")
            place.mkdir(parents=True, exist_ok=True)
            write(image, place / f"{number:03d}{ending}")
            tidy = clean / split / name
            tidy.mkdir(parents=True, exist_ok=True)
            image.save(tidy / f"{number:03d}.png")
    train = wild / "train"
    jpeg, png = base / "whole.jpg", base / "whole.png"
    clothes["1"][99].resize((200, 200)).save(jpeg)
    clothes["1"][99].resize((200, 200)).save(png)
    (train / "1" / "cut.jpg").write_bytes(jpeg.read_bytes()[:-900])
    (train / "1" / "cut.png").write_bytes(png.read_bytes()[:1500])
    (train / "2" / "text.jpg").write_text("this is a text")
    (train / "2" / "zero.png").touch()
    (train / "2" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (train / "2" / "notes.txt").write_text("notes")
    (train / "2" / "odd.tif").write_bytes(b"")
    Image.fromarray(np.full((9, 9), np.nan, np.float32)).save(train / "2" / "nan.tif")
    (train / "10" / ".thumbs").mkdir()
    clothes["1"][98].save(train / "10" / ".thumbs" / "x.png")
    (train / "empty").mkdir()
    (train / "__MACOSX").mkdir()
    clothes["1"][98].save(wild / "root.png")
    clothes["1"][98].save(train / "no class.png")
    (wild / "backup").mkdir()
    (wild / ".git").mkdir()
    return wild, clean
