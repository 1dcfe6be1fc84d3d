"""Random erasing: one rectangle of random size and shape (Zhong et al. 2017, arxiv.org/abs/1708.04896).

Unlike Cutout's square its size is drawn, and it lies wholly inside the image; labels stay.
"""

import math
from typing import Annotated

import torch

from datamodules.batch.boxes import Boxes
from datamodules.batch.coin import toss
from datamodules.batch.cutout import cutout

TRIES = 10
"""Rectangles that are drawn until one fits into the image, as in torchvision; an image stays where none does."""


class RandomErasing:
    """Erase a rectangle of each image with probability ``p``.

    Args:
        p: share of the images.
        smallest: least area, as a share of the image's.
        largest: greatest area.
        elongation: a rectangle is at most this many times as long as wide; shapes are log-uniform.
        value: grey level of the rectangle, 0 is black.
    """

    neutral = {"smallest": 0, "largest": 0}

    def __init__(
        self,
        *,
        p: Annotated[float, "0 <= x <= 1"] = 0.5,
        smallest: Annotated[float, "0 <= x <= 1"] = 0.02,
        largest: Annotated[float, "0 <= x <= 1"] = 0.33,
        elongation: Annotated[float, "1 <= x <= 100"] = 3.3,
        value: Annotated[int, "0 <= x <= 255"] = 0,
    ) -> None:
        if smallest > largest:
            raise ValueError(f"smallest must be at most largest; got {smallest} and {largest}")
        self.p = p
        self.smallest = smallest
        self.largest = largest
        self.elongation = elongation
        self.value = value

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Boxes:
        """Return one rectangle an image, int64 ``(n,)`` each edge; an empty one where nothing is erased."""
        shape = (n, TRIES)
        area = torch.empty(shape).uniform_(self.smallest, self.largest, generator=generator) * height * width
        bound = math.log(self.elongation)
        ratio = torch.empty(shape).uniform_(-bound, bound, generator=generator).exp()
        tall = (area * ratio).sqrt().round().long()
        wide = (area / ratio).sqrt().round().long()
        fits = (tall < height) & (wide < width)
        first = fits.int().argmax(dim=1, keepdim=True)
        tall, wide = tall.gather(1, first)[:, 0], wide.gather(1, first)[:, 0]
        # A uniform number times the count of places, as their count differs from image to image.
        top = (torch.rand(n, generator=generator) * (height - tall + 1)).long()
        left = (torch.rand(n, generator=generator) * (width - wide + 1)).long()
        erased = toss(n, self.p, generator) & fits.any(dim=1)
        return Boxes(top, torch.where(erased, top + tall, top), left, left + wide)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Erase a part of images ``(B, C, H, W)``; targets and masks stay."""
        height, width = images.shape[-2:]
        boxes = self.draw(len(images), height, width, generator).to(images.device)
        return cutout(images, Boxes(*(edge[:, None] for edge in boxes)), value=self.value), targets, masks
