"""Every kind of file arrives upright with the pixels that were written into it, or is refused with a reason."""

import pickle
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.sources import pictures
from datamodules.sources.pictures import BrokenImage, Refused, check_header, endings, read_picture


def test_every_kind_of_file_gives_the_pixels_that_were_written(clothes, writers, tmp_path):
    image = clothes["2"][3]
    upright = torch.from_numpy(np.asarray(image).copy())
    assert not torch.equal(upright, upright.flip(1))  # else a wrong turn would not be seen
    wrong = {}
    for number, (kind, (ending, write)) in enumerate(writers.items()):
        path = tmp_path / f"{number}{ending}"
        write(image, path)
        if ending.lower() not in endings():
            wrong[kind] = f"{ending} is no known ending"
        for channels in (1, 3):
            pixels = read_picture(path, channels)
            expected = upright.expand(channels, -1, -1)
            if pixels.dtype != torch.uint8 or pixels.shape != expected.shape:
                wrong[kind] = (pixels.dtype, tuple(pixels.shape))
                continue
            error = (pixels.int() - expected.int()).abs().float()
            if (error.mean() > 3) if kind.startswith("~") else (error.max() > 1):
                wrong[kind] = f"{channels} channels: off by {error.mean():.1f}, at most {error.max():.0f}"
    assert not wrong
    assert len(writers) > 20


def test_one_bit_images_are_black_and_white(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "1"
    assert read_picture(tmp_path / "a.png", 1).tolist() == [[[255, 0]]]


def test_colours_come_in_the_order_red_green_blue_and_grey_is_their_luma(tmp_path):
    Image.new("RGB", (3, 2), (200, 100, 50)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", 3)[:, 0, 0].tolist() == [200, 100, 50]
    assert read_picture(tmp_path / "a.png", 3).shape == (3, 2, 3)
    assert read_picture(tmp_path / "a.png", 1)[0, 0, 0] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore")  # Pillow's own, from 89 megapixels on
@pytest.mark.parametrize("size", [(20_000, 20_000), (12_000, 9_000)])
def test_huge_images_are_refused_by_their_header(size, tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(_png(*size))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    for read in (check_header, lambda path: read_picture(path, 3)):
        with pytest.raises(Refused, match="more than 100 megapixels"):
            read(path)


def test_what_is_no_picture_is_refused_with_the_reason(clothes, tmp_path):
    image = clothes["1"][0].resize((200, 200))
    image.save(tmp_path / "whole.jpg")
    image.save(tmp_path / "whole.png")
    values = {"outside": np.array([[-5.0, 3e4]], np.float32), "nan": np.array([[np.nan, 1.0]], np.float32)}
    for name, numbers in values.items():
        Image.fromarray(numbers).save(tmp_path / f"{name}.tif")
    Image.fromarray(np.array([[0, 70_000]], np.int32)).save(tmp_path / "int.tif")
    (tmp_path / "text.jpg").write_text("text")
    (tmp_path / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "zero.png").touch()
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-900])
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:1500])
    expected = {
        "outside.tif": "float values outside 0..1 and 0..255",
        "nan.tif": "float values outside 0..1 and 0..255",
        "int.tif": "32-bit values outside 0..65535",
        "text.jpg": "not an image",
        "page.eps": "not an image",  # Ghostscript would be started for it
        "zero.png": "empty file",
        "cut.jpg": "damaged",
        "cut.png": "damaged",
        "gone.png": "not there",
    }
    found = {}
    for name in expected:
        with pytest.raises(Refused) as refused:
            read_picture(tmp_path / name, 3)
        found[name] = str(refused.value)
    assert found == expected


@pytest.mark.filterwarnings("ignore")  # Pillow's, about damaged tags
def test_damaged_files_raise_nothing_but_refused(clothes, writers, tmp_path):
    draws = np.random.default_rng(0)
    for kind, (ending, write) in writers.items():
        path = tmp_path / f"{kind.replace('/', ' ')}{ending}"
        write(clothes["1"][1], path)
        whole = path.read_bytes()
        for _ in range(10):
            damaged = bytearray(whole)
            for position in draws.integers(0, len(whole), 5):
                damaged[position] = int(draws.integers(0, 256))
            path.write_bytes(damaged[: int(draws.integers(8, len(whole) + 1))])
            try:
                assert read_picture(path, 3).dtype == torch.uint8
            except Refused as refused:
                assert len(str(refused)) < 60


def test_the_message_of_a_broken_image_survives_the_way_out_of_a_worker():
    from torch._utils import ExceptionWrapper

    try:
        raise BrokenImage("a/b.jpg: damaged; and more")
    except BrokenImage:
        wrapped = pickle.loads(pickle.dumps(ExceptionWrapper(where="in DataLoader worker process 0")))
    with pytest.raises(BrokenImage) as raised:
        wrapped.reraise()
    assert raised.value.messages == ("a/b.jpg: damaged; and more",)


def test_formats_that_start_other_programs_are_not_among_the_known_ones():
    assert not {"EPS", "WMF", "PDF", "MPEG", "FITS", "HDF5", "GRIB"} & set(pictures.FORMATS)
    assert {".jpg", ".png", ".tif", ".webp", ".gif", ".bmp"} <= endings()
    assert ".heic" not in endings()
