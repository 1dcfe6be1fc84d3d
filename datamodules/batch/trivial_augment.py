"""TrivialAugment: one operation at a random strength, nothing to tune.

Source: Müller and Hutter 2021, arxiv.org/abs/2103.10158, the wide form, as torchvision has it.
"""

from typing import Annotated, NamedTuple

import torch

from datamodules.batch.coin import toss
from datamodules.batch.kinds import Range, change_each, levels, signed
from datamodules.batch.randaugment import CHOICES, LEVELS

RANGES = {
    "shear_x": Range(0.0, 0.99),
    "shear_y": Range(0.0, 0.99),
    "translate_x": Range(0.0, 32.0),  # pixels, whatever the image's size
    "translate_y": Range(0.0, 32.0),
    "rotate": Range(0.0, 135.0),
    "brightness": Range(0.0, 0.99),
    "color": Range(0.0, 0.99),
    "contrast": Range(0.0, 0.99),
    "sharpness": Range(0.0, 0.99),
    "posterize": Range(8.0, 2.0),
    "solarize": Range(1.0, 0.0),
}


class Draws(NamedTuple):
    """Operation (an index into `KINDS`), level of its strength, and whether that is negative: ``(B,)`` each."""

    operations: torch.Tensor
    levels: torch.Tensor
    negative: torch.Tensor


class TrivialAugment:
    """Draw one of 14 operations and one of 31 strengths for each image, with probability ``p``.

    The strengths reach further than RandAugment's: rotations of 135 degrees, shifts of 32 pixels. On images of 32
    pixels that can move all of the image out of sight.
    """

    def __init__(self, *, p: Annotated[float, "0 <= x <= 1"] = 1.0) -> None:
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """Return operations and strengths (uniform) and signs (a fair coin) of n images."""
        operations = torch.randint(CHOICES, (n,), generator=generator)
        level = torch.randint(LEVELS, (n,), generator=generator)
        negative = torch.rand(n, generator=generator) < 0.5
        return Draws(operations * toss(n, self.p, generator), level, negative)  # 0 is the identity

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Change images ``(B, C, H, W)`` and move their masks ``(B, H, W)``; targets stay."""
        drawn = self.draw(len(images), generator)
        strengths = levels(RANGES, LEVELS, *images.shape[-2:])[drawn.operations, drawn.levels]
        strengths = signed(drawn.operations, strengths, drawn.negative)
        images, masks = change_each(images, drawn.operations[None], strengths[None], masks=masks)
        return images, targets, masks
