"""The gradient over a running mean of its size (Tieleman and Hinton 2012, their lecture 6.5)."""

from typing import Annotated, Any

import torch


def rmsprop(
    groups: list[dict[str, Any]],
    *,
    lr: Annotated[float, "x > 0"] = 0.001,
    weight_decay: Annotated[float, "x >= 0"] = 0.0,
    alpha: Annotated[float, "0 <= x < 1"] = 0.99,
    momentum: Annotated[float, "0 <= x < 1"] = 0.0,
    eps: Annotated[float, "x > 0"] = 1e-8,
) -> torch.optim.Optimizer:
    """`torch.optim.RMSprop` over groups that carry their own rates."""
    return torch.optim.RMSprop(groups, lr=lr, weight_decay=weight_decay, alpha=alpha, momentum=momentum, eps=eps)
