"""Adam with decoupled weight decay (Loshchilov and Hutter 2017, arxiv.org/abs/1711.05101)."""

from typing import Annotated, Any

import torch

FUSED = ("cpu", "cuda", "mps", "xpu")


def adamw(
    groups: list[dict[str, Any]],
    *,
    lr: Annotated[float, "x > 0"] = 0.001,
    weight_decay: Annotated[float, "x >= 0"] = 0.05,
    betas: tuple[Annotated[float, "0 <= x < 1"], Annotated[float, "0 <= x < 1"]] = (0.9, 0.999),
    eps: Annotated[float, "x > 0"] = 1e-8,
    fused: bool | None = None,
) -> torch.optim.Optimizer:
    """`torch.optim.AdamW` over groups that carry their own rates."""
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps, fused=fused)
