"""Filters as they were drawn by hand, with a linear classifier; and the same filters as a convolution that learns.

Sobel's edge filters (1968), as in OpenCV. Gabor's filters: Daugman, Uncertainty relation for resolution in space,
spatial frequency, and orientation optimized by two-dimensional visual cortical filters, J. Opt. Soc. Am. A 2 (1985).

- An image is filtered, the response squared and smoothed by a square root (its strength, whatever its sign), and the
  strengths are averaged in 7x7 cells. A linear layer reads them: what vision was before filters were learnt.
- `bank`: `sobel`, edges in two directions, 3x3; `gabor`, waves in six directions and two phases under a bell, 11x11;
  `random`, the same number of random filters, to see what the drawing is worth.
- `learn=true` makes the filters weights that start from the bank: now it is a convolutional net of one layer.
- What differs from a convolutional net: one layer, one size, no choice of what to look for.
- Parameters for 10 classes: 990 (sobel), 5,890 (gabor, random), and 1,452 a channel more where the Gabors learn.
- When to use: as the baseline that shows what learnt filters bring. Images of at least 6 pixels.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BANKS = ("sobel", "gabor", "random")
CELLS = 7
DIRECTIONS, SIZE = 6, 11
WAVELENGTH, SPREAD, ASPECT = 5.0, 2.5, 0.5
EPSILON = 1e-4  # under the root, whose slope at zero would be infinite


def sobel() -> Tensor:
    """Edges along x and along y, (2, 3, 3)."""
    along_x = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    return torch.stack((along_x, along_x.T))


def gabor(*, size: int, direction: float, phase: float) -> Tensor:
    """A wave under a bell, (size, size), in OpenCV's orientation; angles in radians."""
    steps = size // 2 - torch.arange(size, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    along = x * math.cos(direction) + y * math.sin(direction)
    across = y * math.cos(direction) - x * math.sin(direction)
    bell = torch.exp(-0.5 * (along**2 + (ASPECT * across) ** 2) / SPREAD**2)
    return bell * torch.cos(2 * math.pi / WAVELENGTH * along + phase)


def kernels(bank: str) -> Tensor:
    """The filters of a bank, (F, size, size)."""
    if bank == "sobel":
        return sobel()
    if bank == "random":
        return torch.randn(2 * DIRECTIONS, SIZE, SIZE) / SIZE
    angles = [math.pi * number / DIRECTIONS for number in range(DIRECTIONS)]
    drawn = [gabor(size=SIZE, direction=angle, phase=phase) for angle in angles for phase in (0.0, math.pi / 2)]
    return torch.stack(drawn).float()


class Filters(nn.Module):
    """A bank of filters, the strength of their responses in 7x7 cells, and a linear layer."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        bank: Literal["sobel", "gabor", "random"] = "gabor",
        learn: bool = False,
    ) -> None:
        super().__init__()
        if bank not in BANKS:
            raise ValueError(f"bank must be one of {', '.join(BANKS)}; got {bank!r}")
        drawn = kernels(bank)
        count, size, _ = drawn.shape
        self.filters = nn.Conv2d(in_channels, count, size, padding=size // 2, padding_mode="reflect", bias=False)
        weight = (drawn[:, None] / in_channels).expand(-1, in_channels, -1, -1).clone()  # the mean of the channels
        del self.filters.weight
        if learn:
            self.filters.weight = nn.Parameter(weight)
        else:
            self.filters.register_buffer("weight", weight)
        self.head = nn.Linear(count * CELLS**2, num_classes)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        learns = any(True for _ in self.filters.parameters())
        return [*([("filters", ["filters"])] if learns else []), ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        strength = torch.sqrt(self.filters(images) ** 2 + EPSILON)
        return self.head(F.adaptive_avg_pool2d(strength, CELLS).flatten(1))
