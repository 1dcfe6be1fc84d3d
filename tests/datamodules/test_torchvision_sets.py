"""MNIST and the CIFARs, read from files in the published layout (their real ones are not carried)."""

import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
import torch
from torchvision import datasets

from datamodules import fashion_mnist
from datamodules.cifar10 import CIFAR10
from datamodules.cifar100 import CIFAR100
from datamodules.mnist import MNIST
from settings.errors import UserError


def offline(*arguments, **more):
    raise OSError("no route to host")


def test_mnist_is_read_from_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "COUNTS", {"train": 20, "test": 10})
    draws = np.random.default_rng(0)
    written = {}
    for split, (images, labels) in fashion_mnist.FILES.items():
        count = fashion_mnist.COUNTS[split]
        pixels = draws.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (tmp_path / "mnist").mkdir(exist_ok=True)
        header = struct.pack(">HBB3I", 0, 8, 3, count, 28, 28)
        (tmp_path / "mnist" / f"{images}.gz").write_bytes(gzip.compress(header + pixels.tobytes()))
        numbers = struct.pack(">HBBI", 0, 8, 1, count) + bytes(range(10)) * (count // 10)
        (tmp_path / "mnist" / f"{labels}.gz").write_bytes(gzip.compress(numbers))
        written[split] = pixels
    data = MNIST(data_dir=tmp_path)
    data.prepare_data()
    for split, source in data.sources().items():
        assert np.array_equal(source.images[:, 0].numpy(), written[split])
        assert source.targets.tolist() == list(range(10)) * (len(source) // 10)


def test_missing_mnist_names_its_own_folder_and_not_fashions(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "download", offline)
    with pytest.raises(UserError) as missing:
        MNIST(data_dir=tmp_path).prepare_data()
    assert "MNIST: the download failed: no route to host" in str(missing.value)
    assert str(tmp_path / "mnist") in str(missing.value)
    assert "ashion" not in str(missing.value) and "Debian" not in str(missing.value)


@pytest.mark.parametrize(("kind", "label"), [(CIFAR10, "labels"), (CIFAR100, "fine_labels")])
@pytest.mark.parametrize("inside", [False, True])
def test_the_cifars_are_read_through_torchvision(kind, label, inside, tmp_path, monkeypatch):
    theirs = getattr(datasets, kind.torchvision_name)
    home = tmp_path / kind.folder_name / theirs.base_folder
    home.mkdir(parents=True)
    draws = np.random.default_rng(0)
    pixels = {}
    for name, _ in [*theirs.train_list, *theirs.test_list]:
        pixels[name] = draws.integers(0, 256, (10, 3 * 32 * 32), dtype=np.uint8)
        (home / name).write_bytes(pickle.dumps({"data": pixels[name], label: list(range(10))}))
    names = {"fine_label_names": list(kind.class_names), "label_names": list(kind.class_names)}
    (home / theirs.meta["filename"]).write_bytes(pickle.dumps(names))
    for path in ("torchvision.datasets.cifar.check_integrity",):
        monkeypatch.setattr(path, lambda path, md5=None: True)
    data = kind(root=home) if inside else kind(data_dir=tmp_path)
    data.prepare_data()
    found = data.sources()
    first = torch.from_numpy(pixels[theirs.train_list[0][0]][0].reshape(3, 32, 32))
    assert torch.equal(found["train"].images[0], first)
    assert len(found["train"]) == 10 * len(theirs.train_list)
    assert found["test"].targets.tolist() == list(range(10))
    assert len(set(data.class_names)) == {CIFAR10: 10, CIFAR100: 100}[kind]
    assert data.class_names == tuple(sorted(data.class_names))  # both are in alphabetical order


def test_files_that_are_not_the_published_ones_are_not_unpickled(tmp_path, monkeypatch):
    home = tmp_path / "cifar10" / "cifar-10-batches-py"
    home.mkdir(parents=True)
    for name, _ in [*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list]:
        (home / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    monkeypatch.setattr("torchvision.datasets.utils.download_url", offline)
    monkeypatch.setattr(pickle, "load", lambda *arguments, **more: pytest.fail("unpickled"))
    with pytest.raises(UserError, match=r"CIFAR-10: the download failed[\s\S]*cifar-10-python.tar.gz"):
        CIFAR10(data_dir=tmp_path).prepare_data()


def test_a_cifar_archive_is_unpacked_by_us(tmp_path, monkeypatch):
    home = tmp_path / "cifar10"
    home.mkdir()
    with tarfile.open(home / datasets.CIFAR10.filename, "w:gz") as archive:
        for name, _ in [*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list]:
            content = b"stands for pixels"
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr("torchvision.datasets.utils.check_integrity", lambda path, md5=None: True)
    monkeypatch.setattr("torchvision.datasets.utils.extract_archive", lambda *a, **k: pytest.fail("theirs"))
    CIFAR10(data_dir=tmp_path).prepare_data()
    assert (home / "cifar-10-batches-py" / "data_batch_1").read_bytes() == b"stands for pixels"
