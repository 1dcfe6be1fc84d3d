"""The gradient over the root of the sum of all squares so far (Duchi et al. 2011, jmlr.org/papers/v12)."""

from typing import Annotated, Any

import torch

FUSED = ("cpu",)


def adagrad(
    groups: list[dict[str, Any]],
    *,
    lr: Annotated[float, "x > 0"] = 0.01,
    weight_decay: Annotated[float, "x >= 0"] = 0.0,
    eps: Annotated[float, "x > 0"] = 1e-10,
    fused: bool | None = None,
) -> torch.optim.Optimizer:
    """`torch.optim.Adagrad` over groups that carry their own rates."""
    return torch.optim.Adagrad(groups, lr=lr, weight_decay=weight_decay, eps=eps, fused=fused)
