"""Histogram equalisation: spread each image's grey levels evenly over the whole range, channel by channel.

The adaptive form, in tiles with limited contrast, is albumentations' line `CLAHE`.
"""

from typing import Annotated

import torch

from datamodules.batch.coin import toss
from datamodules.batch.kinds import INDEX, change_each


class Equalize:
    """Equalise each image with probability ``p``."""

    def __init__(self, *, p: Annotated[float, "0 <= x <= 1"] = 0.5) -> None:
        self.p = p

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Equalise images ``(B, C, H, W)``; targets and masks stay."""
        operations = INDEX["equalize"] * toss(len(images), self.p, generator)[None]
        images, masks = change_each(images, operations, torch.zeros_like(operations).double(), masks=masks)
        return images, targets, masks
