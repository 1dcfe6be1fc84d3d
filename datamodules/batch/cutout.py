"""Cutout: square holes at random places (DeVries and Taylor 2017, arxiv.org/abs/1708.04552); labels stay."""

from typing import Annotated

import torch

from datamodules.batch.boxes import Boxes, covered
from datamodules.batch.coin import toss
from settings.errors import UserError


def cutout(images: torch.Tensor, holes: Boxes, *, value: int = 0) -> torch.Tensor:
    """Set the pixels of each image's holes, ``(B, holes)``, to ``value``.

    Args:
        images: uint8 ``(B, C, H, W)``.
        holes: which rows and columns; what reaches beyond the image is cut off.
        value: grey level of the holes, in all channels.
    """
    inside = covered(holes, *images.shape[-2:]).any(dim=1)  # (B, H, W)
    # In 8-bit integers, twenty times as fast as a masked fill.
    kept = images * (~inside)[:, None]
    return kept + inside.to(torch.uint8)[:, None] * value if value else kept


class Cutout:
    """Cut holes into each image with probability ``p``; centres are uniform, so a hole may be cut by the border.

    Args:
        holes: how many in an image; they may overlap.
        side: of a hole, as a share of the height and of the width, rounded to pixels. The paper takes 0.5 for
            CIFAR-10 (16 of 32 pixels) and 0.25 for CIFAR-100.
        value: grey level of a hole, 0 is black.
        p: share of the images that get holes.
    """

    def __init__(
        self,
        *,
        holes: Annotated[int, "1 <= x <= 100"] = 1,
        side: Annotated[float, "0 <= x <= 1"] = 0.25,
        value: Annotated[int, "0 <= x <= 255"] = 0,
        p: Annotated[float, "0 <= x <= 1"] = 1.0,
    ) -> None:
        self.holes = holes
        self.side = side
        self.value = value
        self.p = p

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Boxes:
        """Return the holes of n images, int64 ``(n, holes)`` each edge; empty ones where the coin says no."""
        top, bottom = self._edges(n, height, generator)
        left, right = self._edges(n, width, generator)
        return Boxes(top, torch.where(toss(n, self.p, generator)[:, None], bottom, top), left, right)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Cut holes into images ``(B, C, H, W)``; targets and masks stay."""
        height, width = images.shape[-2:]
        holes = self.draw(len(images), height, width, generator).to(images.device)
        return cutout(images, holes, value=self.value), targets, masks

    def _edges(self, n: int, side: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = int(self.side * side + 0.5)
        if not pixels:
            raise UserError(
                f"augment.cutout.side={self.side} is 0 of {side} pixels: it must be at least {1 / side:.2g}"
            )
        start = torch.randint(side, (n, self.holes), generator=generator) - pixels // 2
        return start, start + pixels
