"""Whether a map is to be believed: take its strongest pixels away, or put them into an empty image, and score.

Petsiuk, Das, Saenko 2018, arxiv.org/abs/1806.07421, section 4.1. A good map makes the score fall early when pixels are
deleted, and rise early when they are inserted; how early is the area under the curve.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.analysis.at_rest import at_rest
from models.analysis.wanted_score import wanted_score


@torch.no_grad()
def pixel_curves(
    net: nn.Module, images: Tensor, wanted: Tensor, maps: Tensor, *, steps: int = 16, fill: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The scores while pixels are deleted, and while they are inserted, each float32 (B, steps + 1).

    Args:
        net: maps images to logits (B, K) or (B, K, H, W).
        images: (B, C, H, W) as the net reads them.
        wanted: classes int64 (B,), or weights of the outputs (`wanted_score`).
        maps: (B, h, w), enlarged to the images; the greatest value goes first, of equal ones the upper left one.
        steps: equal shares of the pixels.
        fill: what stands where a pixel is not; 0 is the mean of the data, once normalised.
    """
    count, _, height, width = images.shape
    values = F.interpolate(maps.float()[:, None], (height, width), mode="bilinear").flatten(1)
    order = values.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(height * width, device=order.device).expand_as(order)
    )
    rank = rank.view(count, 1, height, width)
    blank = torch.full_like(images, fill)
    deletion, insertion = [], []
    with at_rest(net):
        for step in range(steps + 1):
            first = rank < round(step * height * width / steps)
            deletion.append(wanted_score(net(torch.where(first, blank, images)), wanted).float().cpu())
            insertion.append(wanted_score(net(torch.where(first, images, blank)), wanted).float().cpu())
    return torch.stack(deletion, dim=1), torch.stack(insertion, dim=1)


def area(curves: Tensor) -> Tensor:
    """The area below each curve (B, steps + 1) over the share of pixels, by trapezoids, (B,)."""
    return torch.trapezoid(curves, dx=1 / (curves.shape[1] - 1), dim=1)
