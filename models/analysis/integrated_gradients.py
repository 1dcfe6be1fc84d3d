"""Integrated gradients: each pixel's share of the way from a baseline image to the image.

Sundararajan, Taly, Yan 2017, arxiv.org/abs/1703.01365. The shares sum to the difference of the two scores.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from models.analysis.at_rest import at_rest
from models.analysis.wanted_score import wanted_score


def integrated_gradients(
    net: nn.Module, images: Tensor, wanted: Tensor, *, steps: int = 50, baseline: float | Tensor = 0.0
) -> Tensor:
    """What each value of the image adds to the score, float32 (B, C, H, W).

    The integral is taken by Gauss and Legendre's rule, as captum does.

    Args:
        net: maps images to logits (B, K) or (B, K, H, W).
        images: (B, C, H, W) as the net reads them.
        wanted: classes int64 (B,), or weights of the outputs (`wanted_score`).
        steps: gradients on the way.
        baseline: the image without content; 0 is the mean of the data, once normalised.
    """
    points, weights = np.polynomial.legendre.leggauss(steps)
    start = torch.as_tensor(baseline, dtype=images.dtype, device=images.device).expand_as(images)
    total = torch.zeros(images.shape, device=images.device)
    with at_rest(net), torch.enable_grad():
        for point, weight in zip(points.tolist(), weights.tolist(), strict=True):
            between = torch.lerp(start, images, (1 + point) / 2).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(wanted_score(net(between), wanted).sum(), between)
            total += gradient.float() * (weight / 2)
    return total * (images - start).float()
