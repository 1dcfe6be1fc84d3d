"""CIFAR-10: 50,000 training and 10,000 test images of animals and vehicles, RGB, 32 x 32 pixels, ten classes.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009),
https://www.cs.toronto.edu/~kriz/cifar.html, no licence given; 170 MB packed. A ResNet-20 reaches 0.91 to 0.92.

torchvision's files are looked for in `root` if one is given, else in `<data_dir>/cifar10`; where they are missing, they
are downloaded. They are pickles: torchvision reads none whose MD5 sum is not that of the published file.
"""

import socket
from pathlib import Path
from typing import Any, ClassVar

import torch

from datamodules.base import ImageDataModule
from datamodules.sources.archives import unpack
from datamodules.sources.arrays import ArraySource
from settings.errors import UserError


class CIFAR10(ImageDataModule):
    """50,000 training and 10,000 test images, uint8 ``(3, 32, 32)``."""

    class_names: tuple[str, ...] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    channels = 3
    image_size = 32
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    title: ClassVar[str] = "CIFAR-10"
    folder_name: ClassVar[str] = "cifar10"  # below data_dir
    torchvision_name: ClassVar[str] = "CIFAR10"

    def prepare_data(self) -> None:
        """Find the files, or unpack or download them.

        Raises:
            UserError: they are nowhere and cannot be downloaded; says which folder to fill with what.
        """
        if self._found() is None:
            self._download()

    def sources(self) -> dict[str, ArraySource]:
        """Read the pictures of both official parts.

        Raises:
            UserError: a file is missing or is not the published one.
        """
        found = self._found()
        if found is None:
            raise self._missing("its files are not there, or are not the published ones")
        sources = {}
        for split in ("train", "test"):
            data = self._set(str(found), train=split == "train")
            images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()  # (N, 3, 32, 32)
            keys = [f"{split}/{index:05d}" for index in range(len(images))]
            sources[split] = ArraySource(images, torch.tensor(data.targets, dtype=torch.int64), keys)
        return sources

    @property
    def _set(self) -> Any:
        from torchvision import datasets  # a second to import

        return getattr(datasets, self.torchvision_name)

    @property
    def _home(self) -> Path:
        return self.root if self.root is not None else self.data_dir / self.folder_name

    def _found(self) -> Path | None:
        """Return the folder that holds torchvision's folder of files: the one named, or the one above it."""
        places = [self._home, self._home.parent] if self.root is not None else [self._home, self.data_dir]
        for place in places:
            if (place / self._set.base_folder).is_dir():
                try:
                    self._set(str(place))
                except RuntimeError:  # torchvision: a file is missing, or its MD5 sum is another
                    continue
                return place
        return None

    def _download(self) -> None:
        before = socket.getdefaulttimeout()
        # torchvision sets none, and a firewall that drops packets would hang the run.
        socket.setdefaulttimeout(10)
        try:
            from torchvision.datasets.utils import download_url

            kind = self._set
            # Keeps an archive that lies there already, if its MD5 sum is right; unpacked here, as theirs trusts it.
            download_url(kind.url, str(self._home), kind.filename, kind.tgz_md5)
            unpack(self._home / kind.filename, self._home)
        except (OSError, RuntimeError, EOFError) as error:
            raise self._missing(f"the download failed: {error}") from error
        finally:
            socket.setdefaulttimeout(before)

    def _missing(self, why: str) -> UserError:
        return UserError(
            f"{self.title}: {' '.join(why.split())}",
            f"put {self._set.filename}, packed or not, into {self._home.resolve()}",
            f"or name the folder that holds {self._set.base_folder}: data.root=FOLDER",
        )
