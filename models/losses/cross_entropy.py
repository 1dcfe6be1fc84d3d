"""Cross entropy of the softmax, for one class an image or a pixel."""

from typing import Annotated

from torch import Tensor
from torch.nn import functional

from models.soft_targets import class_shares, divided, in_float32, mean_cost

TARGETS = ("labels", "masks")


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: Annotated[float, "0 <= x < 1"] = 0.0,
    class_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Mean cross entropy, computed in at least float32.

    Args:
        logits: (B, K, ...).
        targets: class indices int64 (B, ...), or shares of the classes (B, K, ...) that sum to 1, after mixing.
        label_smoothing: share of each target spread evenly over the K classes; Szegedy et al. 2016,
            arxiv.org/abs/1512.00567.
        class_weights: (K,), the weight of each class; the mean is over weights, as torch's own is for class
            indices, and for shares of the classes alike.
        ignore_index: class index that counts nowhere.

    Returns:
        A scalar; 0 where nothing counts.
    """
    logits = in_float32(logits)
    weight = None if class_weights is None else class_weights.to(logits.dtype)
    if targets.is_floating_point():
        targets = targets.to(logits.dtype)
        if targets.ndim > 2:  # an ignored pixel has no share of any class, which torch's smoothing would give it
            shares = class_shares(logits, targets, ignore_index=ignore_index)
            costs = -logits.log_softmax(dim=1)
            return mean_cost(costs, shares, label_smoothing=label_smoothing, class_weights=weight)
        if weight is None:
            return functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        total = functional.cross_entropy(logits, targets, weight, reduction="sum", label_smoothing=label_smoothing)
        return divided(total, (targets @ weight).sum())
    total = functional.cross_entropy(
        logits, targets, weight, ignore_index=ignore_index, reduction="sum", label_smoothing=label_smoothing
    )
    counted = targets != ignore_index
    # Not torch's own mean, which is NaN for a batch of padding only.
    if weight is None:
        return total / counted.sum().clamp_min(1)
    return divided(total, (weight[targets.where(counted, 0)] * counted).sum())
