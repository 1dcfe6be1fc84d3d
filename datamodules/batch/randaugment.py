"""RandAugment: a few of 14 operations, all at one magnitude (Cubuk et al. 2019, arxiv.org/abs/1909.13719)."""

from typing import Annotated, NamedTuple

import torch

from datamodules.batch.coin import toss
from datamodules.batch.kinds import Range, change_each, levels, signed

CHOICES = 14  # all of `KINDS` but the last, invert
LEVELS = 31  # magnitudes 0 to 30, as in torchvision

RANGES = {
    "shear_x": Range(0.0, 0.3),
    "shear_y": Range(0.0, 0.3),
    "translate_x": Range(0.0, 150 / 331, "width"),
    "translate_y": Range(0.0, 150 / 331, "height"),
    "rotate": Range(0.0, 30.0),
    "brightness": Range(0.0, 0.9),
    "color": Range(0.0, 0.9),
    "contrast": Range(0.0, 0.9),
    "sharpness": Range(0.0, 0.9),
    "posterize": Range(8.0, 4.0),
    "solarize": Range(1.0, 0.0),
}


class Draws(NamedTuple):
    """Which operation in each round, an index into `KINDS`, and whether its strength is negative: ``(num_ops, B)``."""

    operations: torch.Tensor
    negative: torch.Tensor


def rand_augment(
    images: torch.Tensor, draws: Draws, *, magnitude: int, masks: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Change each image by its operations, one round after the other.

    Args:
        images: uint8 ``(B, C, H, W)``, C 1 or 3.
        draws: on the CPU.
        magnitude: 0 to 30, of all operations.
        masks: int64 ``(B, H, W)``; geometric operations move them, and 255 comes in.

    Returns:
        New images and masks.
    """
    strongest = levels(RANGES, LEVELS, *images.shape[-2:])[:, magnitude]
    strengths = signed(draws.operations, strongest[draws.operations], draws.negative)
    return change_each(images, draws.operations, strengths, masks=masks, mapped=True)


class RandAugment:
    """Draw ``num_ops`` of the 14 operations for each image, with probability ``p``.

    Args:
        num_ops: rounds; the same operation may come twice.
        magnitude: 0 (weak) to 30.
        p: share of the images that is changed at all.
    """

    neutral = {"num_ops": 0}

    def __init__(
        self,
        *,
        num_ops: Annotated[int, "0 <= x <= 14"] = 2,
        magnitude: Annotated[int, "0 <= x <= 30"] = 9,
        p: Annotated[float, "0 <= x <= 1"] = 1.0,
    ) -> None:
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """Return operations (uniform over all 14) and signs (a fair coin) of n images."""
        shape = (self.num_ops, n)
        operations = torch.randint(CHOICES, shape, generator=generator)
        negative = torch.rand(shape, generator=generator) < 0.5
        return Draws(operations * toss(n, self.p, generator), negative)  # 0 is the identity

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Change images ``(B, C, H, W)`` and move their masks ``(B, H, W)``; targets stay."""
        images, masks = rand_augment(images, self.draw(len(images), generator), magnitude=self.magnitude, masks=masks)
        return images, targets, masks
