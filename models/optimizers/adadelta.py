"""Steps scaled by the size of recent steps (Zeiler 2012, arxiv.org/abs/1212.5701)."""

from typing import Annotated, Any

import torch


def adadelta(
    groups: list[dict[str, Any]],
    *,
    lr: Annotated[float, "x > 0"] = 1.0,
    weight_decay: Annotated[float, "x >= 0"] = 0.0,
    rho: Annotated[float, "0 <= x < 1"] = 0.9,
    eps: Annotated[float, "x > 0"] = 1e-6,
) -> torch.optim.Optimizer:
    """`torch.optim.Adadelta` over groups that carry their own rates."""
    return torch.optim.Adadelta(groups, lr=lr, weight_decay=weight_decay, rho=rho, eps=eps)
