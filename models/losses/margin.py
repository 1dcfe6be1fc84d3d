"""Multi-class hinge loss: the true class has to win by a margin."""

from typing import Annotated

import torch
from torch import Tensor

from models.soft_targets import class_shares, in_float32, mean_cost

TARGETS = ("labels", "masks")


def margin(
    logits: Tensor,
    targets: Tensor,
    *,
    margin: Annotated[float, "x > 0"] = 1.0,
    squared: bool = False,
    class_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Mean of max(0, margin - true logit + largest other logit).

    Crammer and Singer 2001, jmlr.org/papers/v2/crammer01a.html; the square as Tang 2013, arxiv.org/abs/1306.0239.

    Args:
        logits: (B, K, ...), K at least 2.
        targets: class indices int64 (B, ...), or shares of the classes (B, K, ...), after mixing: the mean of what
            each class costs, by its share.
        margin: by how much the true logit has to be the largest.
        squared: whether the hinge is squared.
        class_weights: (K,), the weight of each class; the mean is over weights.
        ignore_index: class index that counts nowhere.

    Returns:
        A scalar; 0 where nothing counts.
    """
    logits = in_float32(logits)
    best, second = logits.topk(2, dim=1).values.split(1, dim=1)
    others = torch.where(logits == best, second, best)  # of two that are the largest each is the other's rival
    costs = (margin - logits + others).clamp_min(0)
    shares = class_shares(logits, targets, ignore_index=ignore_index)
    return mean_cost(costs**2 if squared else costs, shares, label_smoothing=0.0, class_weights=class_weights)
