"""Handwritten digits that scikit-learn carries: 1,797 scans of 8 x 8 pixels in ten classes, nothing to fetch.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), CC BY 4.0: the
test part of it. There is no official split, so a fixed stratified fifth is the test set. A small residual
net reaches 0.98 and more.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from datamodules import splits
from datamodules.base import ImageDataModule
from datamodules.sources.arrays import ArraySource
from settings.errors import UserError

TEST_FRACTION = 0.2
TEST_SPLIT_SEED = 1797  # part of the data set's definition: changing it makes results incomparable


class Digits(ImageDataModule):
    """1,438 training and 359 test images, uint8 ``(1, 8, 8)``."""

    class_names = tuple("0123456789")
    channels = 1
    image_size = 8
    mean = (0.3049,)
    std = (0.3755,)

    def prepare_data(self) -> None:
        """Nothing to fetch, and so no folder that could be named."""
        if self.root is not None:
            raise UserError(
                f"data.root={self.root}: digits comes with scikit-learn and reads no folder; leave data.root out"
            )

    def sources(self) -> dict[str, ArraySource]:
        """Read the digits out of scikit-learn's package and cut the test fifth."""
        # What `sklearn.datasets.load_digits` reads; to import it takes ten times as long.
        package = find_spec("sklearn")
        assert package is not None and package.origin is not None
        rows = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
        table = torch.from_numpy(rows)  # (N, 65): 64 pixels from 0 .. 16, and the class
        images = table[:, :-1].reshape(-1, 8, 8) * (255 / 16)
        everything = ArraySource(
            images.round().to(torch.uint8)[:, None],
            table[:, -1].to(torch.int64),
            [f"digits/{index:04d}" for index in range(len(images))],
        )
        test = splits.assign(everything.keys, everything.targets, TEST_FRACTION, TEST_SPLIT_SEED)
        return {
            "train": everything.subset((~test).nonzero()[:, 0]),
            "test": everything.subset(test.nonzero()[:, 0]),
        }
