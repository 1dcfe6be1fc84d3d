"""Shift each image by a few pixels: pad, then crop at a random place (He et al. 2015, section 4.2)."""

from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import torch

from datamodules.batch.coin import toss
from settings.errors import UserError

IGNORE = 255  # target of mask pixels that lie outside the image
TABLE = 2**23
"""Most bytes of the table of what lies inside; images have 83 thousand at 32 pixels and 4, 5.8 million at 96 and 12."""


class Shifts(NamedTuple):
    """Where each crop starts, relative to its image: int64 ``(B,)`` on the CPU; 0 is the image itself."""

    rows: torch.Tensor
    columns: torch.Tensor


def crop(
    images: torch.Tensor, shifts: Shifts, *, fill: Literal["zeros", "reflect"] = "zeros", outside: int = 0
) -> torch.Tensor:
    """Cut out of each image a window of the image's size that starts at its shift.

    Args:
        images: ``(B, C, H, W)``, whole numbers.
        shifts: int64 ``(B,)`` each, smaller than the side.
        fill: what lies outside: ``outside`` everywhere, or the image mirrored at its border pixels.
        outside: the value for ``fill="zeros"``; masks take 255.

    Returns:
        ``(B, C, H, W)`` of the same type.
    """
    n, channels, height, width = images.shape
    reach = int(max(shifts.rows.abs().max(), shifts.columns.abs().max())) if n else 0
    if fill == "zeros" and (2 * reach + 1) ** 2 * height * width * images.element_size() <= TABLE:
        return _shifted(images, shifts, reach, outside)
    padded = _padded(images, reach, fill, outside)
    tall, wide = padded.shape[-2:]
    # Every place at which a window could start, as a view that overlaps itself: a crop is then a choice of rows.
    size = channels * tall * wide
    starts = n * size - (channels - 1) * tall * wide - (height - 1) * wide - width + 1
    windows = padded.as_strided((max(starts, 0), channels, height, width), (1, tall * wide, wide, 1))
    first = torch.arange(n) * size + (shifts.rows + reach) * wide + shifts.columns + reach
    return windows.index_select(0, first.to(images.device))


def _shifted(images: torch.Tensor, shifts: Shifts, reach: int, outside: int) -> torch.Tensor:
    """Do as `crop` in 0.6 of the time: move each image as one piece of memory, and blank what came in from others."""
    n, channels, height, width = images.shape
    size, margin = channels * height * width, reach * (width + 1)
    flat = images.new_empty(n * size + 2 * margin)
    flat[margin : margin + n * size] = images.reshape(-1)
    windows = flat.as_strided((max((n - 1) * size + 2 * margin + 1, 0), size), (1, 1))
    first = torch.arange(n) * size + margin + shifts.rows * width + shifts.columns
    moved = windows.index_select(0, first.to(images.device)).view(n, channels, height * width)
    which = (shifts.rows + reach) * (2 * reach + 1) + shifts.columns + reach
    inside = _inside(reach, height, width, images.dtype, images.device).index_select(0, which.to(images.device))
    moved.bitwise_and_(inside[:, None])
    if outside:
        moved.bitwise_or_(inside.bitwise_not_().bitwise_and_(outside)[:, None])
    return moved.view(images.shape)


@lru_cache(maxsize=16)
def _inside(reach: int, height: int, width: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Which pixels of a window come from its image: all bits or none, ``((2 reach + 1)^2, H * W)``, a row a shift."""
    places = torch.arange(-reach, reach + 1)[:, None]
    rows, columns = (places + torch.arange(side) for side in (height, width))
    rows, columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    table = rows[:, None, :, None] & columns[None, :, None, :]
    return table.view(len(places) ** 2, height * width).to(dtype).neg().to(device)


def _padded(images: torch.Tensor, reach: int, fill: str, outside: int) -> torch.Tensor:
    """Add ``reach`` pixels on each side, in new and contiguous memory."""
    n, channels, height, width = images.shape
    if fill == "reflect":
        rows, columns = (
            mirrored(torch.arange(-reach, side + reach, device=images.device), side) for side in (height, width)
        )
        return images.index_select(2, rows).index_select(3, columns)
    padded = images.new_full((n, channels, height + 2 * reach, width + 2 * reach), outside)
    padded[:, :, reach : reach + height, reach : reach + width] = images
    return padded


def mirrored(positions: torch.Tensor, size: int) -> torch.Tensor:
    """Mirror positions outside ``0 .. size - 1`` at the border pixels: -1 -> 1, size -> size - 2."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()


class RandomCrop:
    """Pad by a share of the side and crop at a random place, with probability ``p``.

    Args:
        padding: on each side, as a share of the height and width, rounded to pixels (0.125 is 4 of 32
            pixels).
        p: share of the images that is shifted at all.
        fill: "zeros" (black, the usual) or "reflect" (the image mirrored at its border).
    """

    def __init__(
        self,
        *,
        padding: Annotated[float, "0 < x < 1"] = 0.125,
        p: Annotated[float, "0 <= x <= 1"] = 1.0,
        fill: Literal["zeros", "reflect"] = "zeros",
    ) -> None:
        if fill not in ("zeros", "reflect"):
            raise ValueError(f"fill is 'zeros' or 'reflect'; got {fill!r}")
        self.padding = padding
        self.p = p
        self.fill = fill

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Shifts:
        """Return shifts for n images, uniform from minus to plus the padding in pixels."""
        rows, columns = (self._uniform(n, side, generator) for side in (height, width))
        moved = toss(n, self.p, generator)
        return Shifts(rows * moved, columns * moved)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Shift images ``(B, C, H, W)`` and their masks ``(B, H, W)``; targets stay."""
        height, width = images.shape[-2:]
        shifts = self.draw(len(images), height, width, generator)
        if masks is not None:
            masks = crop(masks[:, None], shifts, fill=self.fill, outside=IGNORE)[:, 0]
        return crop(images, shifts, fill=self.fill), targets, masks

    def _uniform(self, n: int, side: int, generator: torch.Generator) -> torch.Tensor:
        pixels = int(self.padding * side + 0.5)
        if not 0 < pixels < side:
            raise UserError(
                f"augment.random_crop.padding={self.padding} is {pixels} of {side} pixels: "
                f"it must be at least 1 and less than {side}"
            )
        return torch.randint(-pixels, pixels + 1, (n,), generator=generator)
