"""Hide parts of an image in a pattern, so that a net learns to look at all of it; labels stay.

Hide-and-Seek: Kumar Singh and Lee 2017, arxiv.org/abs/1704.04232. GridMask: Chen et al. 2020, arxiv.org/abs/2001.04086.
"""

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch

from datamodules.batch.coin import toss
from settings.errors import UserError


def hidden_patches(hidden: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Spread the cells of a grid, bool ``(B, rows, columns)``, over the pixels: bool ``(B, H, W)``."""
    rows, columns = (
        torch.arange(side, device=hidden.device) * cells // side
        for side, cells in ((height, hidden.shape[1]), (width, hidden.shape[2]))
    )
    return hidden[:, rows[:, None], columns]


class HideAndSeek:
    """Cut each image into a grid and hide each cell by a coin of its own.

    Args:
        grids: numbers of cells along a side, of which each image draws one; the paper's are 4, 5, 7 and 14 of 224
            pixels (cells of 56, 44, 32 and 16), and the whole image.
        hide: probability of a cell to be hidden.
        value: grey level of hidden cells; the paper takes the mean of the training images.
        p: share of the images.
    """

    neutral = {"hide": 0}

    def __init__(
        self,
        *,
        grids: Annotated[Sequence[Annotated[int, "x >= 1"]], "len(x) >= 1"] = (4, 5, 7),
        hide: Annotated[float, "0 <= x <= 1"] = 0.5,
        value: Annotated[int, "0 <= x <= 255"] = 128,
        p: Annotated[float, "0 <= x <= 1"] = 0.5,
    ) -> None:
        if not grids or any(int(cells) != cells or cells < 1 for cells in grids):
            raise ValueError(f"grids are whole numbers of cells along a side, at least 1; got {list(grids)}")
        self.grids = tuple(int(cells) for cells in grids)
        self.hide = hide
        self.value = value
        self.p = p

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
        """Return bool ``(n, H, W)``: the hidden pixels."""
        largest = max(self.grids)
        if largest > min(height, width):
            raise UserError(f"augment.hide_and_seek.grids: {largest} cells do not fit into {height}x{width} pixels")
        which = torch.randint(len(self.grids), (n,), generator=generator)
        hidden = torch.rand(n, largest, largest, generator=generator) < self.hide
        mask = torch.zeros(n, height, width, dtype=torch.bool)
        for index, cells in enumerate(self.grids):
            chosen = which == index
            mask[chosen] = hidden_patches(hidden[chosen, :cells, :cells], height, width)
        return mask & toss(n, self.p, generator)[:, None, None]

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Hide cells of images ``(B, C, H, W)``; targets and masks stay."""
        height, width = images.shape[-2:]
        hidden = self.draw(len(images), height, width, generator).to(images.device)
        return images.masked_fill(hidden[:, None], self.value), targets, masks


class Grids(NamedTuple):
    """The squares of each image: they repeat every ``unit`` pixels and are ``side`` wide: int64 ``(B,)`` each.

    ``top`` and ``left`` are where the first of them starts. An image with ``side`` 0 has none.
    """

    unit: torch.Tensor
    side: torch.Tensor
    top: torch.Tensor
    left: torch.Tensor

    def to(self, device: torch.device) -> "Grids":
        """The same squares on another device."""
        return Grids(*(one.to(device) for one in self))


def grid_squares(grids: Grids, height: int, width: int) -> torch.Tensor:
    """The pixels inside the squares: bool ``(B, H, W)``."""
    inside = [
        (torch.arange(side, device=start.device) - start[:, None]) % grids.unit[:, None]
        < grids.side[:, None]  # (B, side)
        for start, side in ((grids.top, height), (grids.left, width))
    ]
    return inside[0][:, :, None] & inside[1][:, None, :]


class GridMask:
    """Hide squares that stand in a regular grid, each image with a width and a place of its own.

    Args:
        smallest: least distance from one square to the next, as a share of the shorter side.
        largest: greatest distance; uniform.
        keep: the share of that distance that stays visible between two squares.
        value: grey level of the squares, 0 is black.
        p: share of the images.
    """

    neutral = {"keep": 1}

    def __init__(
        self,
        *,
        smallest: Annotated[float, "0 <= x <= 1"] = 0.43,
        largest: Annotated[float, "0 <= x <= 1"] = 1.0,
        keep: Annotated[float, "0 <= x <= 1"] = 0.6,
        value: Annotated[int, "0 <= x <= 255"] = 0,
        p: Annotated[float, "0 <= x <= 1"] = 0.7,
    ) -> None:
        if smallest > largest:
            raise ValueError(f"smallest must be at most largest; got {smallest} and {largest}")
        self.smallest = smallest
        self.largest = largest
        self.keep = keep
        self.value = value
        self.p = p

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Grids:
        """Return the squares of n images."""
        low, high = (round(share * min(height, width)) for share in (self.smallest, self.largest))
        if low < 2:
            raise UserError(
                f"augment.grid_mask.smallest={self.smallest} is {low} of {min(height, width)} pixels: "
                f"it must be at least {math.ceil(1500 / min(height, width)) / 1000:g}"
            )
        unit = torch.randint(low, high + 1, (n,), generator=generator)
        side = unit - (unit * self.keep).ceil().long()
        top, left = ((torch.rand(n, generator=generator) * unit).long() for _ in range(2))
        return Grids(unit, side * toss(n, self.p, generator), top, left)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Hide squares of images ``(B, C, H, W)``; targets and masks stay."""
        height, width = images.shape[-2:]
        grids = self.draw(len(images), height, width, generator).to(images.device)
        hidden = grid_squares(grids, height, width)
        return images.masked_fill(hidden[:, None], self.value), targets, masks
