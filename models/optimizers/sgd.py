"""Stochastic gradient descent, with momentum unless it is 0 (Sutskever et al. 2013, proceedings.mlr.press/v28)."""

from typing import Annotated, Any

import torch

FUSED = ("cpu", "cuda", "mps", "xpu")


def sgd(
    groups: list[dict[str, Any]],
    *,
    lr: Annotated[float, "x > 0"] = 0.1,
    weight_decay: Annotated[float, "x >= 0"] = 0.0,
    momentum: Annotated[float, "0 <= x < 1"] = 0.9,
    nesterov: bool = False,
    fused: bool | None = None,
) -> torch.optim.Optimizer:
    """`torch.optim.SGD` over groups that carry their own rates."""
    return torch.optim.SGD(groups, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, fused=fused)
