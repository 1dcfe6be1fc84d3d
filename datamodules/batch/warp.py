"""Move the pixels of a batch, each image by its own field: what affine changes and elastic distortions share."""

import torch
from torch.nn.functional import grid_sample

from datamodules.batch.random_crop import IGNORE


def pixel_grid(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Each pixel's own place, columns then rows from -1 to 1 as `grid_sample` counts: float32 ``(H, W, 2)``."""
    rows, columns = (
        torch.linspace((1 - side) / side, (side - 1) / side, side, device=device) for side in (height, width)
    )
    return torch.stack((columns.expand(height, -1), rows[:, None].expand(-1, width)), dim=-1)


def warp(
    images: torch.Tensor, grid: torch.Tensor, *, masks: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Take each pixel from where its grid says, bilinearly; black comes in from outside.

    Args:
        images: uint8 ``(B, C, H, W)``.
        grid: float32 ``(B, H, W, 2)``, columns then rows, -1 to 1 from edge to edge.
        masks: int64 ``(B, H, W)``, by the nearest pixel; 255 comes in.
    """
    moved = grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if masks is not None:
        # Shifted by one, so that what comes in from outside, 0, is told from class 0.
        near = grid_sample(masks[:, None].float() + 1, grid, mode="nearest", padding_mode="zeros", align_corners=False)
        labels = near[:, 0].long() - 1
        masks = torch.where(labels < 0, IGNORE, labels)
    return moved.round_().to(torch.uint8), masks
