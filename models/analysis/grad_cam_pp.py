"""Grad-CAM++: as Grad-CAM, each place's gradient by how much it does for the score; better with several objects.

Chattopadhay et al. 2018, arxiv.org/abs/1710.11063, equations 19 and 20, for the exponential of the score.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.analysis.feature_gradients import feature_gradients
from models.analysis.grid import Grid
from models.analysis.wanted_score import wanted_score


def grad_cam_pp(net: nn.Module, grid: Grid, images: Tensor, wanted: Tensor) -> Tensor:
    """How much each place speaks for what is wanted, float32 (B, h, w), none negative.

    The factor exp(score) of all gradients of an image is left out: it scales its map and may overflow.

    Args:
        net: maps images to logits (B, K) or (B, K, H, W).
        grid: whose output is weighed.
        images: (B, C, H, W) as the net reads them.
        wanted: classes int64 (B,), or weights of the outputs (`wanted_score`).
    """
    features, gradients = feature_gradients(net, grid.module, images, lambda outputs: wanted_score(outputs, wanted))
    features, gradients = grid.to_map(features).float(), grid.to_map(gradients).float()
    under = 2 * gradients**2 + features.sum(dim=(2, 3), keepdim=True) * gradients**3
    shares = torch.where(under != 0, gradients**2 / torch.where(under != 0, under, 1), 0)
    weights = (shares * gradients.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * features).sum(dim=1).relu()
