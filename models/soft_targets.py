"""Class indices and shares of classes as one thing, and the mean that losses share."""

import torch
from torch import Tensor


def in_float32(logits: Tensor) -> Tensor:
    """Logits in at least float32, in which a loss is computed."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def class_shares(logits: Tensor, targets: Tensor, *, ignore_index: int) -> Tensor:
    """The share of each class in each target, all 0 where a target is ignored.

    Args:
        logits: (B, K, ...).
        targets: class indices int64 (B, ...), or shares of the classes (B, K, ...).
        ignore_index: class index that counts nowhere.

    Returns:
        (B, K, ...) of the logits' type.
    """
    if targets.is_floating_point():
        return targets.to(logits.dtype)
    counted = (targets != ignore_index).unsqueeze(1)
    indices = targets.unsqueeze(1).where(counted, 0)
    return logits.new_zeros(logits.shape).scatter_(1, indices, counted.to(logits.dtype))


def mean_cost(costs: Tensor, shares: Tensor, *, label_smoothing: float, class_weights: Tensor | None) -> Tensor:
    """Mean of what the classes cost, each by its share, weighted as torch weighs its cross entropy.

    Args:
        costs: (B, K, ...), what it costs if class k is the true one.
        shares: (B, K, ...), all 0 where a target is ignored.
        label_smoothing: share of each target spread evenly over the K classes, in [0, 1).
        class_weights: (K,); the mean is over the weights of what is counted.

    Returns:
        A scalar; 0 where nothing is counted.
    """
    classes = costs.shape[1]
    weights = costs.new_ones(classes) if class_weights is None else class_weights.to(costs.dtype)
    weights = weights.view(classes, *[1] * (costs.ndim - 2))
    counted = shares.sum(dim=1, keepdim=True)
    smooth = shares * (1 - label_smoothing) + counted * (label_smoothing / classes)
    return divided((smooth * weights * costs).sum(), (shares * weights).sum())


def divided(total: Tensor, weight: Tensor) -> Tensor:
    """`total / weight`; the total itself, which is 0, where no weight is left."""
    return total / torch.where(weight > 0, weight, 1)


def binary_targets(
    logits: Tensor, targets: Tensor, *, label_smoothing: float, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Each class against all others: whether it is there, and whether that counts.

    Args:
        logits: (B, K, ...).
        targets: class indices int64 (B, ...), or 0, 1 or a share for each class (B, K, ...), where `ignore_index`
            says that it is not known.
        label_smoothing: moves each target this share of the way to 1/2, in [0, 1).
        ignore_index: target that counts nowhere.

    Returns:
        (B, K, ...) in the logits' type, in [0, 1]; and 1 or 0 for what counts, (B, K, ...) or (B, 1, ...).
    """
    if targets.is_floating_point():
        counted = targets != ignore_index
        there = targets.where(counted, 0).to(logits.dtype)
    else:
        counted = (targets != ignore_index).unsqueeze(1)
        there = class_shares(logits, targets, ignore_index=ignore_index)
    return there * (1 - label_smoothing) + label_smoothing / 2, counted.to(logits.dtype).expand_as(logits)
