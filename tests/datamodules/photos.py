"""Crops of the two photos that scikit-learn carries, as tensors and as an image folder."""

from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms.v2 import functional as v2


def _crops(count: int, *, width: int, height: int) -> Iterator[Image.Image]:
    """Crops at random places of the photos in turn, as large as both allow, brought to the size."""
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]  # 640 x 427
    draws = torch.Generator().manual_seed(0)
    for index in range(count):
        photo = photos[index % len(photos)]
        share = min(1.0, photo.width / width, photo.height / height)
        sides = round(width * share), round(height * share)
        left, top = (
            int(torch.randint(0, whole - side + 1, (), generator=draws))
            for whole, side in zip(photo.size, sides, strict=True)
        )
        crop = photo.crop((left, top, left + sides[0], top + sides[1]))
        yield crop.resize((width, height), Image.Resampling.BICUBIC)


def photo_crops(count: int, side: int) -> torch.Tensor:
    """Square crops: uint8 (count, 3, side, side)."""
    return torch.stack([v2.pil_to_tensor(crop) for crop in _crops(count, width=side, height=side)])


def write_jpegs(root: Path, count: int, *, width: int, height: int) -> None:
    """Write `root/train/CLASS/N.jpg` for two classes, and a validation set of one picture a class."""
    for index, crop in enumerate(_crops(count, width=width, height=height)):
        for split in ("train", "val") if index < 2 else ("train",):
            path = root / split / ("china", "flower")[index % 2] / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            crop.save(path, quality=90)
