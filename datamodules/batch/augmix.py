"""AugMix: a weighted mean of an image and several chains of light changes of it (Hendrycks et al. 2019).

Source: arxiv.org/abs/1912.02781, without its consistency loss, as torchvision has it.
"""

from typing import Annotated, NamedTuple

import torch

from datamodules.batch.coin import toss
from datamodules.batch.kinds import INDEX, Range, change_each, levels, signed

LEVELS = 10
LONGEST = 3  # operations in a chain: 1 to 3
RANGES = {
    "shear_x": Range(0.0, 0.3),
    "shear_y": Range(0.0, 0.3),
    "translate_x": Range(0.0, 1 / 3, "width"),
    "translate_y": Range(0.0, 1 / 3, "height"),
    "rotate": Range(0.0, 30.0),
    "posterize": Range(4.0, 0.0),
    "solarize": Range(1.0, 0.0),
    "autocontrast": Range(0.0, 0.0),
    "equalize": Range(0.0, 0.0),
    "brightness": Range(0.0, 0.9),
    "color": Range(0.0, 0.9),
    "contrast": Range(0.0, 0.9),
    "sharpness": Range(0.0, 0.9),
}


class Draws(NamedTuple):
    """The chains of n images.

    Attributes:
        own: weight of the image itself ``(n,)``.
        weights: of its chains ``(n, width)``; with ``own`` they sum to 1.
        operations: indices into `KINDS`, 0 beyond a chain's end, ``(width, LONGEST, n)``.
        levels: likewise, from 0 to ``severity`` - 1.
        negative: likewise.
    """

    own: torch.Tensor
    weights: torch.Tensor
    operations: torch.Tensor
    levels: torch.Tensor
    negative: torch.Tensor


def augmix(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Mix each image with its chains: uint8 ``(B, C, H, W)``, fractions of a grey level are cut off."""
    table = levels(RANGES, LEVELS, *images.shape[-2:])
    mixed = draws.own.to(images.device).view(-1, 1, 1, 1) * images
    for chain, weights in enumerate(draws.weights.unbind(dim=1)):
        operations = draws.operations[chain]  # (LONGEST, B)
        strengths = signed(operations, table[operations, draws.levels[chain]], draws.negative[chain])
        changed, _ = change_each(images, operations, strengths, interpolation="bilinear")
        mixed += weights.to(images.device).view(-1, 1, 1, 1) * changed
    return mixed.to(torch.uint8)


class AugMix:
    """Mix each image with chains of 1 to 3 operations, with probability ``p``.

    Args:
        severity: 1 (weak) to 10.
        width: number of chains.
        alpha: of the Beta and Dirichlet distributions of the weights; 1 is uniform.
        p: share of the images that is changed at all.
    """

    moves_masks = False

    def __init__(
        self,
        *,
        severity: Annotated[int, "1 <= x <= 10"] = 3,
        width: Annotated[int, "1 <= x <= 10"] = 3,
        alpha: Annotated[float, "0.01 <= x <= 100"] = 1.0,
        p: Annotated[float, "0 <= x <= 1"] = 1.0,
    ) -> None:
        self.severity = severity
        self.width = width
        self.alpha = alpha
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """Return the chains of n images; those that the coin leaves alone have weight 1 on themselves."""
        import numpy as np  # torch's Dirichlet takes no generator

        numbers = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        own = torch.from_numpy(numbers.beta(self.alpha, self.alpha, n)).float()
        own = torch.where(toss(n, self.p, generator), own, 1.0)
        chains = torch.from_numpy(numbers.dirichlet([self.alpha] * self.width, n)).float()
        shape = (self.width, LONGEST, n)
        choices = torch.tensor([INDEX[name] for name in RANGES])
        operations = choices[torch.randint(len(choices), shape, generator=generator)]
        ends = torch.randint(1, LONGEST + 1, (self.width, 1, n), generator=generator)
        operations = operations * (torch.arange(LONGEST)[:, None] < ends)
        level = torch.randint(self.severity, shape, generator=generator)
        negative = torch.rand(shape, generator=generator) < 0.5
        return Draws(own, chains * (1 - own)[:, None], operations, level, negative)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Change images ``(B, C, H, W)``; targets stay."""
        if masks is not None:
            raise ValueError(
                "AugMix overlaps shifted copies of an image, which masks cannot follow: drop augment.augmix"
            )
        return augmix(images, self.draw(len(images), generator)), targets, None
