"""Fashion-MNIST: 60,000 training and 10,000 test images of clothes, grey, 28 x 28 pixels, ten classes.

Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST (2017), arXiv:1708.07747, MIT licence; 31 MB packed.
LeNet-5 reaches 0.90, a small residual net 0.93 to 0.95.

The four IDX files are looked for in `root` if one is given, else in `<data_dir>/fashion_mnist` and in the
folder of Debian's package dataset-fashion-mnist; where they are missing, torchvision downloads them.
"""

import gzip
import math
import socket
import struct
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from datamodules.base import ImageDataModule
from datamodules.sources.arrays import ArraySource
from settings.errors import UserError

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
COUNTS = {"train": 60_000, "test": 10_000}


class FashionMNIST(ImageDataModule):
    """60,000 training and 10,000 test images, uint8 ``(1, 28, 28)``."""

    class_names: tuple[str, ...] = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    channels = 1
    image_size = 28
    mean = (0.2860,)
    std = (0.3530,)
    title: ClassVar[str] = "Fashion-MNIST"
    folder_name: ClassVar[str] = "fashion_mnist"  # below data_dir
    torchvision_name: ClassVar[str] = "FashionMNIST"
    debian: ClassVar[tuple[str, Path] | None] = (DEBIAN_PACKAGE, DEBIAN_FOLDER)  # package, folder

    def prepare_data(self) -> None:
        """Find the files, or download them.

        Raises:
            UserError: they are nowhere and cannot be downloaded; says which folder to fill with what.
        """
        if self._folder() is None:
            self._download()

    def sources(self) -> dict[str, ArraySource]:
        """Read the IDX files.

        Raises:
            UserError: a file is missing, damaged, or something else.
        """
        folder = self._folder()
        if folder is None:
            raise self._missing("its files are not there")
        return {split: self._read_split(folder, split) for split in FILES}

    def _read_split(self, folder: Path, split: str) -> ArraySource:
        images_file, labels_file = (find_idx(folder, name) for name in FILES[split])
        assert images_file is not None and labels_file is not None  # `_folder` has seen them
        count = COUNTS[split]
        images = read_idx(images_file, (count, self.image_size, self.image_size))
        labels = read_idx(labels_file, (count,))
        if labels.max() >= len(self.class_names):
            raise UserError(f"{labels_file} holds label {labels.max()}; {self.title} has 0 to 9: not this data set")
        keys = [f"{split}/{index:05d}" for index in range(count)]
        return ArraySource(torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64)), keys)

    @property
    def _home(self) -> Path:
        return self.root if self.root is not None else self.data_dir / self.folder_name

    def _folder(self) -> Path | None:
        """Return the first folder that holds all four files, packed or not."""
        places = [self._home]
        if self.root is None:
            places += [self.data_dir, self.debian[1]] if self.debian else []
        for place in places:
            for folder in (place, place / self.torchvision_name / "raw"):  # the second is how torchvision lays it
                if all(find_idx(folder, name) for names in FILES.values() for name in names):
                    return folder
        return None

    def _download(self) -> None:
        from torchvision import datasets  # a second to import

        before = socket.getdefaulttimeout()
        # torchvision sets none, and a firewall that drops packets would hang the run.
        socket.setdefaulttimeout(10)
        try:
            getattr(datasets, self.torchvision_name)(str(self._home), download=True)
        except (OSError, RuntimeError) as error:
            raise self._missing(f"the download failed: {error}") from error
        finally:
            socket.setdefaulttimeout(before)

    def _missing(self, why: str) -> UserError:
        package = f"install Debian's package {self.debian[0]}, or " if self.debian else ""
        names = ", ".join(f"{name}.gz" for pair in FILES.values() for name in pair)
        return UserError(
            f"{self.title}: {' '.join(why.split())}",
            f"put {names} into {self._home.resolve()}",
            f"or {package}name the files' folder: data.root=FOLDER",
        )


def find_idx(folder: Path, name: str) -> Path | None:
    """Return the file ``name`` or ``name.gz`` in ``folder``, if it is there."""
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    return None


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read unsigned bytes in the IDX format (https://yann.lecun.org/exdb/mnist), packed or not.

    Args:
        path: a file that ends in .gz is unpacked.
        shape: what the header must say.

    Raises:
        UserError: damaged, cut short, or another file; names it, and both shapes or lengths.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}. Fetch it again") from error
    # Two zero bytes, 8 for unsigned byte, the number of dimensions, then each as a big-endian 32-bit number.
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    if data[:4] != header[:4]:
        raise UserError(f"{path} is no IDX file of {len(shape)}-dimensional bytes: it starts with {data[:4].hex(' ')}")
    if data[: len(header)] != header:
        found = struct.unpack(f">{len(shape)}I", data[4 : len(header)].ljust(len(header) - 4, b"\0"))
        raise UserError(f"{path} holds an array of {found}, and {shape} is expected: not this data set")
    if len(data) != len(header) + math.prod(shape):
        raise UserError(f"{path} has {len(data)} bytes unpacked, and {len(header) + math.prod(shape)} are expected")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape).copy()
