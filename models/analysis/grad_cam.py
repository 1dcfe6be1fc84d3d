"""Grad-CAM: the channels of a feature map, each by the mean gradient of the class's score.

Selvaraju et al. 2017, arxiv.org/abs/1610.02391, equations 1 and 2.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.analysis.feature_gradients import feature_gradients
from models.analysis.grid import Grid
from models.analysis.wanted_score import wanted_score


def grad_cam(net: nn.Module, grid: Grid, images: Tensor, wanted: Tensor, *, relu: bool = True) -> Tensor:
    """How much each place speaks for what is wanted, float32 (B, h, w).

    Args:
        net: maps images to logits (B, K) or (B, K, H, W).
        grid: whose output is weighed; of class (B, C, h, w) once turned.
        images: (B, C, H, W) as the net reads them.
        wanted: classes int64 (B,), or weights of the outputs (`wanted_score`).
        relu: keep what speaks for it alone, as the paper does; else negative where a place speaks against it.
    """
    features, gradients = feature_gradients(net, grid.module, images, lambda outputs: wanted_score(outputs, wanted))
    weights = grid.to_map(gradients).float().mean(dim=(2, 3), keepdim=True)
    maps = (weights * grid.to_map(features).float()).sum(dim=1)
    return maps.relu() if relu else maps
