"""Decoded pictures on disk: the same scores, entries of their own for every change, and damage that heals."""

import multiprocessing
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.folder import Folder
from datamodules.sources import cache as module
from datamodules.sources.cache import CacheError, Kept, PictureCache
from datamodules.sources.pictures import Refused
from settings.errors import UserError
from settings.preprocessing import Preprocessing
from tests.datamodules.photos import write_jpegs

HOW = Preprocessing(image_size=48, resize=56, interpolation="bicubic", channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)
CROP = {"random_resized_crop": {"scale": [0.3, 1.0]}}
SMALL = Kept(40, "bilinear")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    write_jpegs(root, 8, width=200, height=150)
    return root


@pytest.fixture
def decoded(monkeypatch):
    """The files that were decoded."""
    found = []
    made = module._made
    monkeypatch.setattr(module, "_made", lambda path, *rest: found.append(path) or made(path, *rest))
    return found


def readers(root, tmp_path, recipe=CROP, how=HOW, **own):
    data = Folder(root=root, data_dir=tmp_path, check="off", **own)
    data.prepare_data()
    data.configure(batch_size=8, preprocessing=how, recipe=recipe)
    data.setup("fit")
    return data._training_reader(), data._evaluation_reader("train")


def test_scores_are_those_without_it_and_each_file_is_decoded_once(photos, tmp_path, decoded):
    chosen, own = torch.arange(8), {"cache": tmp_path / "cache"}
    for how in (HOW, Preprocessing(**{**HOW.to_dict(), "channels": 1, "mean": (0.5,), "std": (0.2,)})):
        for recipe in (CROP, {}):
            plain, cached = readers(photos, tmp_path, recipe, how), readers(photos, tmp_path, recipe, how, **own)
            for _ in range(2):
                assert torch.equal(cached[1][chosen][0], plain[1][chosen][0])
            if not recipe:  # the very size of evaluation again, from what may be decoded smaller
                difference = cached[0][(0, chosen)][0].float() - plain[0][(0, chosen)][0].float()
                assert difference.abs().mean() < 1
    count = len(decoded)
    assert count == 8 * 2 * 2  # evaluation's, and training's without crops; grey and in colour
    readers(photos, tmp_path, CROP, **own)[1][chosen]
    assert len(decoded) == count


def test_the_nearest_pixel_is_one_of_the_files_from_the_cache_too(photos, tmp_path):
    how = Preprocessing(**{**HOW.to_dict(), "interpolation": "nearest"})
    training, _ = readers(photos, tmp_path, CROP, how, cache=tmp_path / "cache")
    for _ in range(2):
        for key, image in zip(training.source.keys, training[(0, torch.arange(8))][0], strict=True):
            own = np.array(Image.open(training.source.folder / key)).reshape(-1, 3)
            seen = image.permute(1, 2, 0).reshape(-1, 3).numpy()
            assert set(map(bytes, seen)) <= set(map(bytes, own))


def test_training_crops_are_the_same_where_the_whole_picture_is_kept_and_near_where_it_is_smaller(photos, tmp_path):
    chosen = torch.arange(8)
    plain, _ = readers(photos, tmp_path, scaled_decode=False)
    whole, _ = readers(photos, tmp_path, scaled_decode=False, cache=tmp_path / "a", cache_side=150)
    smaller, _ = readers(photos, tmp_path, cache=tmp_path / "b")
    for epoch in range(3):
        expected = plain[(epoch, chosen)][0]
        assert torch.equal(whole[(epoch, chosen)][0], expected)
        for _ in range(2):  # made, then read
            difference = smaller[(epoch, chosen)][0].float() - expected.float()
            assert 0 < difference.abs().mean() < 6  # of 255: the part is the same to a pixel of those kept


def test_entries_are_found_by_path_size_time_and_how_they_are_kept(tmp_path, decoded, monkeypatch):
    cache, path = PictureCache(folder=tmp_path / "cache"), tmp_path / "a.png"
    Image.new("RGB", (60, 50), (200, 100, 50)).save(path)
    assert cache.crop_side(64) == 80 and PictureCache(folder=tmp_path / "cache", side=50).crop_side(64) == 50
    first = cache.picture(path, 3, SMALL).image
    assert first.shape == (3, 40, 48) and first[:, 0, 0].tolist() == [200, 100, 50]
    for kept, channels in ((SMALL, 3), (SMALL, 1), (Kept(39, "bilinear"), 3), (Kept(40, "bicubic"), 3)):
        for _ in range(2):
            assert cache.picture(path, channels, kept).image.shape[0] == channels
    assert len(decoded) == 4
    Image.new("RGB", (60, 50), (0, 100, 50)).save(path)  # the same name
    os.utime(path, ns=(1, 1))
    assert cache.picture(path, 3, SMALL).image[:, 0, 0].tolist() == [0, 100, 50]
    places = [cache.place(path, 3, SMALL)]
    os.utime(path, ns=(1, 2))  # of another time alone
    places.append(cache.place(path, 3, SMALL))
    path.write_bytes(path.read_bytes() + b"more")  # of another size alone
    os.utime(path, ns=(1, 2))
    places.append(cache.place(path, 3, SMALL))
    places.append(cache.place(Path(shutil.copy2(path, tmp_path / "b.png")), 3, SMALL))  # of another name alone
    assert len(set(places)) == 4
    monkeypatch.chdir(tmp_path)
    assert cache.place(Path("b.png"), 3, SMALL) == places[-1]
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(Refused, match="damaged"):
        cache.picture(path, 3, SMALL)
    path.unlink()
    with pytest.raises(Refused, match="not there"):
        cache.picture(path, 3, SMALL)


def test_the_same_bytes_are_decoded_once_whatever_their_name_and_time(photos, tmp_path, decoded, monkeypatch):
    folder = tmp_path / "cache"
    cache, path = PictureCache(folder=folder), Path(shutil.copy(photos / "train" / "china" / "0.jpg", tmp_path))
    first = cache.picture(path, 3, SMALL).image
    os.utime(path, (1, 1))
    assert torch.equal(cache.picture(path, 3, SMALL).image, first)
    for same in (Path(shutil.copy(path, tmp_path / "b.jpg")), path.rename(tmp_path / "c.jpg")):
        assert torch.equal(cache.picture(same, 3, SMALL).image, first)
    assert len(decoded) == 1
    entries = [one for one in folder.glob("*/*")]
    assert len(entries) == 1 + 4 and len({one.stat().st_ino for one in entries}) == 1  # one file on the disk
    with monkeypatch.context() as without:
        without.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
        assert torch.equal(cache.picture(Path(shutil.copy(path.with_name("c.jpg"), path)), 3, SMALL).image, first)
    assert len(decoded) == 1 and len(list(folder.glob("*/*"))) == 1 + 5
    smaller = cache.picture(path, 3, Kept(39, "bilinear")).image  # kept in another way
    assert smaller.shape[-2] == 39 and len(decoded) == 2


def test_a_file_that_changes_while_it_is_read_is_not_kept(photos, tmp_path, monkeypatch):
    cache, path = (
        PictureCache(folder=tmp_path / "cache"),
        Path(shutil.copy(photos / "train" / "china" / "0.jpg", tmp_path)),
    )
    made = module._made

    def overtaken(path, *rest):
        shutil.copy(photos / "train" / "china" / "2.jpg", path)
        return made(path, *rest)

    monkeypatch.setattr(module, "_made", overtaken)
    second = cache.picture(path, 3, SMALL).image
    assert not list((tmp_path / "cache").glob("*/*"))
    assert torch.equal(cache.picture(path, 3, SMALL).image, second)


def test_damaged_entries_are_made_again(photos, tmp_path, decoded):
    cache, path = PictureCache(folder=tmp_path / "cache"), photos / "train" / "china" / "0.jpg"
    expected = cache.picture(path, 3, SMALL).image.clone()
    entry = cache.place(path, 3, SMALL)
    whole = entry.read_bytes()
    flipped = [bytearray(whole) for _ in range(5)]
    for number, position in enumerate((2, 9, 21, 700, len(whole) - 1)):  # 21: the file's height, in the head
        flipped[number][position] ^= 16
    for damaged in (
        b"",
        whole[:10],
        whole[:-1],
        whole + b"x",
        bytes(len(whole)),
        whole[:64] + bytes(4096) + whole[64 + 4096 :],
        *flipped,
    ):
        entry.write_bytes(damaged)
        count = len(decoded)
        assert torch.equal(cache.picture(path, 3, SMALL).image, expected)
        assert len(decoded) == count + 1 and entry.read_bytes() == whole


def test_an_entry_gets_its_name_when_it_is_whole(photos, tmp_path, monkeypatch):
    named, replace = [], Path.replace

    def watched(fresh, place):
        assert not place.exists()
        named.append(module._read(fresh))
        return replace(fresh, place)

    monkeypatch.setattr(Path, "replace", watched)
    cache, path = PictureCache(folder=tmp_path / "cache"), photos / "train" / "china" / "0.jpg"
    made = cache.picture(path, 3, SMALL).image
    assert [torch.equal(entry.image, made) for entry in named] == [True, True]  # by content; by path, size and time


def read_all(root, folder):
    torch.set_num_threads(1)  # as a loader's worker
    cache = PictureCache(folder=folder)
    for side in range(20, 60):
        for path in sorted(root.glob("train/*/*.jpg")):
            cache.picture(path, 3, Kept(side, "bilinear"))


def test_several_processes_and_a_kill_while_it_is_made_leave_no_wrong_entry(photos, tmp_path):
    folder = tmp_path / "cache"
    started = [multiprocessing.get_context("fork").Process(target=read_all, args=(photos, folder)) for _ in range(2)]
    for one in started:
        one.start()
    deadline = time.monotonic() + 60
    while len(list(folder.glob("*/*"))) < 80 and time.monotonic() < deadline:
        time.sleep(0.002)
    started[0].kill()
    for one in started:
        one.join()
    assert started[0].exitcode == -signal.SIGKILL and started[1].exitcode == 0
    entries = [one for one in folder.glob("*/*") if one.suffix != ".tmp"]
    assert len(entries) == 2 * 40 * 8 and all(module._read(one) is not None for one in entries)
    left = folder / entries[0].parent.name / "x.tmp"
    left.touch()
    PictureCache(folder=folder)
    assert left.exists()  # someone may be writing it
    os.utime(left, (1, 1))
    PictureCache(folder=folder)
    assert not left.exists()


def test_a_folder_that_cannot_be_written_to_is_named(photos, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=re.escape(f"data.cache={tmp_path / 'file'}: cannot be written to: ")):
        PictureCache(folder=tmp_path / "file")
    cache = PictureCache(folder=tmp_path / "cache")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CacheError, match="cannot be written to: No space left on device"):
        cache.picture(photos / "train" / "china" / "0.jpg", 3, SMALL)
    assert not [one for one in (tmp_path / "cache").rglob("*") if one.is_file()]
    again = CacheError("Traceback:\n  ...\ndatamodules.sources.cache.CacheError: data.cache=x: cannot be written to")
    assert str(again) == "data.cache=x: cannot be written to"
