"""JPEG files by libjpeg-turbo against Pillow: the same pixels, the same files refused."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from datamodules.sources import jpeg
from datamodules.sources.pictures import Refused, read_picture


@pytest.fixture(scope="module")
def photos():
    """Two real photos, cut so that no side divides by 16."""
    return [Image.fromarray(photo[:203, 100:401]) for photo in load_sample_images().images]


def by_pillow(path, channels):
    with Image.open(path) as image:
        pixels = np.array(ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L"))
    return torch.from_numpy(pixels).view(*pixels.shape[:2], channels).permute(2, 0, 1)


def opened_decode(path):
    with Image.open(path) as image:
        return jpeg.decode(path.read_bytes(), image, 1)


def is_plain(path):
    with Image.open(path) as image:
        return jpeg.is_plain(image)


def orientation(tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    return {"exif": exif}


KINDS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True, "quality": 40},
    "restart markers": {"restart_marker_blocks": 7},
    "RGB inside": {"keep_rgb": True},
    "best": {"quality": 100},
    **{f"EXIF {tag}": orientation(tag) for tag in range(10)},
    "two pictures, as of a phone": {"format": "MPO", "save_all": True, **orientation(6)},
}


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_pillows_for_every_kind_of_plain_file(mode, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(jpeg, "decode", spy := Mock(side_effect=jpeg.decode))
    path = tmp_path / "a.jpg"
    for kind, options in KINDS.items():
        if mode == "L" and kind == "RGB inside":
            continue
        if "save_all" in options:
            options = {**options, "append_images": [photos[1].convert(mode)]}
        photos[0].convert(mode).save(path, **{"format": "JPEG", **options})
        for channels in (1, 3):
            spy.reset_mock()
            assert torch.equal(read_picture(path, channels), by_pillow(path, channels)), (kind, channels)
            assert spy.call_count == 1
            assert opened_decode(path) is not None, kind  # not by falling back


def test_other_kinds_and_doubtful_files_are_left_to_pillow(photos, tmp_path):
    path = tmp_path / "a.jpg"
    photos[0].convert("CMYK").save(path)
    assert not is_plain(path)
    assert torch.equal(read_picture(path, 3), by_pillow(path, 3))
    photos[0].save(tmp_path / "a.png")
    assert not is_plain(tmp_path / "a.png")
    photos[0].save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000])
    assert opened_decode(path) is None
    with pytest.raises(Refused, match="damaged"):
        read_picture(path, 3)
    # Bytes between two segments: a warning, which Pillow passes over.
    start = whole.index(b"\xff\xda")
    path.write_bytes(whole[:start] + bytes(5) + whole[start:])
    assert opened_decode(path) is None
    assert torch.equal(read_picture(path, 3), by_pillow(path, 3))


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_shrunken_pictures_are_pillows_drafts_and_upright(shrink, photos, tmp_path):
    path = tmp_path / "a.jpg"
    for tag in (1, 6):
        photos[1].save(path, **orientation(tag))
        asked = Mock(return_value=shrink)
        found = read_picture(path, 3, asked)
        with Image.open(path) as image:
            image.draft("RGB", (301 // shrink, 203 // shrink))
            drafted = np.array(ImageOps.exif_transpose(image))
        assert np.array_equal(found.permute(1, 2, 0).numpy(), drafted)
        asked.assert_called_once_with(*((203, 301) if tag == 1 else (301, 203)))
    photos[1].save(tmp_path / "a.png")
    asked = Mock()
    assert read_picture(tmp_path / "a.png", 3, asked).shape == (3, 203, 301)
    asked.assert_not_called()


def test_as_many_pixels_stay_as_an_antialiased_resize_wants():
    assert [jpeg.shrink_for(side, 224) for side in (200, 447, 895, 896, 1791, 1792, 3583, 3584, 9000)] == [
        *(1, 1, 1, 2, 2, 4, 4, 8, 8)
    ]


@pytest.mark.parametrize("count", [150, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")  # Pillow's, about damaged tags
def test_damaged_files_give_pillows_pixels_or_are_refused_as_by_pillow(count, photos, tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    draws = np.random.default_rng(0)
    wholes = []
    for options in ({}, {"progressive": True}, {"subsampling": 0, "restart_marker_blocks": 3}):
        photos[0].crop((40, 30, 150, 100)).save(path, **options, **orientation(6))
        wholes.append(path.read_bytes())
    outcomes = {"read": 0, "refused": 0}
    used = 0
    for number in range(count):
        damaged = bytearray(wholes[number % 3])
        for position in draws.integers(0, len(damaged), int(draws.integers(1, 4))):
            damaged[position] = int(draws.integers(0, 256))
        path.write_bytes(damaged[: int(draws.integers(200, 2 * len(damaged)))])
        with monkeypatch.context() as patched:
            patched.setattr(jpeg, "is_plain", lambda image: False)
            expected = _read(path)
        found = _read(path)
        assert type(found) is type(expected) and (
            found == expected if isinstance(found, str) else torch.equal(found, expected)
        )
        shrunken = _read(path, lambda height, width: 2)  # fewer pixels are decoded, but none is made up
        assert isinstance(shrunken, str) == isinstance(found, str)
        outcomes["refused" if isinstance(found, str) else "read"] += 1
        try:
            with Image.open(path) as image:
                used += jpeg.is_plain(image) and jpeg.decode(path.read_bytes(), image, 1) is not None
        except (OSError, SyntaxError):
            pass
    assert min(outcomes.values()) > count // 5 and used > count // 20


def _read(path, shrink=None):
    try:
        return read_picture(path, 3, shrink)
    except Refused as refused:
        return str(refused)
