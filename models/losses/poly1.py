"""Poly-1: cross entropy with another weight on the first term of its expansion."""

from typing import Annotated

from torch import Tensor

from models.soft_targets import class_shares, in_float32, mean_cost

TARGETS = ("labels", "masks")


def poly1(
    logits: Tensor,
    targets: Tensor,
    *,
    epsilon: Annotated[float, "x >= -1"] = 2.0,
    label_smoothing: Annotated[float, "0 <= x < 1"] = 0.0,
    class_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Mean of the cross entropy plus epsilon (1 - p), p the probability of the true class.

    Leng et al. 2022, arxiv.org/abs/2204.12511.

    Args:
        logits: (B, K, ...).
        targets: class indices int64 (B, ...), or shares of the classes (B, K, ...) that sum to 1, after mixing.
        epsilon: what is added to the weight 1 of the term 1 - p; 0 is cross entropy, 2 the paper's on ImageNet.
        label_smoothing: share of each target spread evenly over the K classes, in both terms.
        class_weights: (K,), the weight of each class; the mean is over weights.
        ignore_index: class index that counts nowhere.

    Returns:
        A scalar; 0 where nothing counts.
    """
    log_probs = in_float32(logits).log_softmax(dim=1)
    shares = class_shares(log_probs, targets, ignore_index=ignore_index)
    costs = -log_probs + epsilon * (1 - log_probs.exp())
    return mean_cost(costs, shares, label_smoothing=label_smoothing, class_weights=class_weights)
