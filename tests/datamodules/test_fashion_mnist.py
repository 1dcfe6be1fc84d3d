"""Reading is tested on small IDX files that torchvision reads too, and on the real set if it is installed."""

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets.mnist import read_image_file, read_label_file

from datamodules import fashion_mnist
from datamodules.fashion_mnist import DEBIAN_FOLDER, FILES, FashionMNIST, read_idx
from settings.errors import UserError

installed = pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed")
NAMES = [name for pair in FILES.values() for name in pair]


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def small(monkeypatch):
    """Let the data set hold 30 and 20 images."""
    monkeypatch.setattr(fashion_mnist, "COUNTS", {"train": 30, "test": 20})


def fill(folder: Path, *, packed=True, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(seed)
    for (images, labels), count in zip(FILES.values(), (30, 20), strict=True):
        arrays = {images: numbers.integers(0, 256, (count, 28, 28)), labels: np.arange(count) % 10}
        for name, array in arrays.items():
            data = idx(array.astype(np.uint8))
            (folder / f"{name}.gz").write_bytes(gzip.compress(data)) if packed else (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_reads_what_torchvision_reads(tmp_path, small, packed):
    fill(tmp_path / "plain", packed=False)
    sources = FashionMNIST(root=fill(tmp_path / "set", packed=packed)).sources()
    for split, (images, labels) in FILES.items():
        assert torch.equal(sources[split].images[:, 0], read_image_file(str(tmp_path / "plain" / images)))
        assert torch.equal(sources[split].targets, read_label_file(str(tmp_path / "plain" / labels)))
        assert sources[split].images.dtype == torch.uint8
    assert sources["test"].keys[-1] == "test/00019"


@pytest.mark.parametrize(
    "place", ["data/fashion_mnist", "data/fashion_mnist/FashionMNIST/raw", "data/FashionMNIST/raw", "debian"]
)
def test_is_found_in_the_usual_places(tmp_path, small, monkeypatch, place):
    monkeypatch.setattr(FashionMNIST, "debian", ("dataset-fashion-mnist", tmp_path / "debian"))
    fill(tmp_path / place)
    data = FashionMNIST(data_dir=tmp_path / "data")
    data.prepare_data()
    assert len(data.sources()["train"]) == 30
    assert not list(tmp_path.rglob("data/*.gz"))  # nothing is copied


def test_a_named_root_comes_first(tmp_path, small):
    fill(tmp_path / "data/fashion_mnist", seed=1)
    data = FashionMNIST(
        root=fill(tmp_path / "a b=c,ä" / "FashionMNIST/raw", seed=2).parents[1], data_dir=tmp_path / "data"
    )
    expected = np.random.default_rng(2).integers(0, 256, (30, 28, 28))
    assert np.array_equal(data.sources()["train"].images[:, 0].numpy(), expected)


def test_without_files_and_network_says_what_to_fill(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(FashionMNIST, "debian", ("dataset-fashion-mnist", tmp_path / "debian"))
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", no_network)
    data = FashionMNIST(data_dir=tmp_path / "data")
    with pytest.raises(UserError) as caught:
        data.prepare_data()
    message = str(caught.value)
    assert "Network is unreachable" in message
    assert str(tmp_path / "data/fashion_mnist") in message
    assert "dataset-fashion-mnist" in message
    assert all(f"{name}.gz" in message for name in NAMES)
    assert len(caught.value.messages) == 3  # short lines: long ones are cut when they are shown
    with pytest.raises(UserError, match="its files are not there"):
        data.setup()


def test_a_download_is_laid_where_it_is_found(tmp_path, small, monkeypatch):
    monkeypatch.setattr(FashionMNIST, "debian", ("dataset-fashion-mnist", tmp_path / "debian"))
    origin = fill(tmp_path / "origin")

    def fetch(url, download_root, filename, md5):  # what torchvision calls, but from disk
        shutil.copy(origin / filename, download_root)
        unpacked = Path(download_root) / Path(filename).stem
        unpacked.write_bytes(gzip.decompress((origin / filename).read_bytes()))

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fetch)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST._load_data", lambda self: (None, None))
    data = FashionMNIST(data_dir=tmp_path / "data")
    data.prepare_data()
    assert len(data.sources()["test"]) == 20


def damaged(data: bytes) -> dict[str, bytes]:
    packed = gzip.compress(data)
    middle = len(packed) // 2
    return {
        "cut short": packed[:middle],
        "no gzip": b"<html>not found</html>",
        "empty": b"",
        "flipped": packed[:middle] + bytes([packed[middle] ^ 255]) + packed[middle + 1 :],
        "another type": gzip.compress(b"\0\0\x0d" + data[3:]),
        "another shape": gzip.compress(data[:4] + struct.pack(">I", 31) + data[8:]),
        "only a header": gzip.compress(data[:6]),
        "too few bytes": gzip.compress(data[:-1]),
        "too many bytes": gzip.compress(data + b"\0"),
    }


@pytest.mark.parametrize("name", [NAMES[0], NAMES[3]])
@pytest.mark.parametrize("how", damaged(b""))
def test_a_damaged_file_is_named(tmp_path, small, name, how):
    path = fill(tmp_path) / f"{name}.gz"
    path.write_bytes(damaged(gzip.decompress(path.read_bytes()))[how])
    with pytest.raises(UserError) as caught:
        FashionMNIST(root=tmp_path).setup()
    assert str(path) in str(caught.value)


def test_labels_of_another_data_set_are_refused(tmp_path, small):
    path = fill(tmp_path) / f"{NAMES[1]}.gz"
    path.write_bytes(gzip.compress(idx(np.arange(30, dtype=np.uint8))))
    with pytest.raises(UserError, match="holds label 29"):
        FashionMNIST(root=tmp_path).setup()


@installed
def test_the_real_set():
    data = FashionMNIST(root=DEBIAN_FOLDER)
    sources = data.sources()
    assert [len(source) for source in sources.values()] == [60_000, 10_000]
    assert sources["train"].targets.bincount().tolist() == [6000] * 10
    assert sources["train"].targets[:5].tolist() == [9, 0, 0, 3, 0]  # as its README shows them
    pixels = sources["train"].images
    assert FashionMNIST.mean[0] == pytest.approx(pixels.float().mean().item() / 255, abs=1e-4)
    assert FashionMNIST.std[0] == pytest.approx(pixels.double().std().item() / 255, abs=1e-4)


def test_class_names_are_torchvisions():
    from torchvision.datasets import FashionMNIST as Reference

    assert FashionMNIST.class_names == tuple(Reference.classes)


def test_read_idx_gives_an_array_that_may_be_written(tmp_path):
    (tmp_path / "some").write_bytes(idx(np.arange(6, dtype=np.uint8).reshape(2, 3)))
    array = read_idx(tmp_path / "some", (2, 3))
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert array.flags.writeable
