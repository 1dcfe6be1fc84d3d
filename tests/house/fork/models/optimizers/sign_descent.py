"""Steps of one length: only the sign of each gradient counts (Bernstein et al. 2018, arxiv.org/abs/1802.04434)."""

from collections.abc import Callable
from typing import Annotated, Any

import torch


class SignDescent(torch.optim.Optimizer):
    """Move each weight by `lr` against the sign of its smoothed gradient."""

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, weight_decay: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; the closure computes the gradients."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in (one for one in group["params"] if one.grad is not None):
                smoothed = self.state[weight].setdefault("smoothed", torch.zeros_like(weight))
                smoothed.lerp_(weight.grad, 1 - group["momentum"])
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * smoothed.sign())
        return loss


def sign_descent(
    groups: list[dict[str, Any]],
    *,
    lr: Annotated[float, "x > 0"] = 0.001,
    weight_decay: Annotated[float, "x >= 0"] = 0.0,
    momentum: Annotated[float, "0 <= x < 1"] = 0.9,
) -> SignDescent:
    """The optimiser over groups that carry their own rates."""
    return SignDescent(groups, lr=lr, weight_decay=weight_decay, momentum=momentum)
