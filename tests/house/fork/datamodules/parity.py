"""Which of scikit-learn's digits are odd."""

from pathlib import Path

import torch

from datamodules.base import ImageDataModule
from datamodules.sources.arrays import ArraySource


class Parity(ImageDataModule):
    """Digits up to `largest`, every fifth for the test."""

    class_names = ("even", "odd")
    channels = 1
    image_size = 8
    mean = (0.3,)
    std = (0.38,)

    def __init__(self, *, root: Path | None = None, data_dir: Path = Path("data"), largest: int = 9) -> None:
        super().__init__(root=root, data_dir=data_dir)
        self.largest = largest

    def sources(self) -> dict[str, ArraySource]:
        """Read them from scikit-learn's package."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (torch.from_numpy(digits.images) * 15.9375).round().to(torch.uint8)[:, None]
        targets = torch.from_numpy(digits.target).to(torch.int64)
        source = ArraySource(images, targets % 2, [f"{index:04d}" for index in range(len(targets))])
        used = (targets <= self.largest).nonzero()[:, 0]
        return {"train": source.subset(used[used % 5 > 0]), "test": source.subset(used[used % 5 == 0])}
