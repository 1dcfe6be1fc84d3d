"""Rectangles, one or several an image, as masks: what Cutout, random erasing and CutMix share."""

from typing import NamedTuple

import torch


class Boxes(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, ends excluded: int64 of one shape.

    They may reach beyond the image; what lies outside is cut off.
    """

    top: torch.Tensor
    bottom: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    def to(self, device: torch.device) -> "Boxes":
        """The same boxes on another device."""
        return Boxes(*(edge.to(device) for edge in self))


def covered(boxes: Boxes, height: int, width: int) -> torch.Tensor:
    """Mark the pixels of boxes ``(...)``: bool ``(..., height, width)``."""
    rows = torch.arange(height, device=boxes.top.device)
    columns = torch.arange(width, device=boxes.top.device)
    in_rows = (rows >= boxes.top[..., None]) & (rows < boxes.bottom[..., None])  # (..., H)
    in_columns = (columns >= boxes.left[..., None]) & (columns < boxes.right[..., None])  # (..., W)
    return in_rows[..., :, None] & in_columns[..., None, :]
