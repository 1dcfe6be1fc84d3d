"""Focal loss of the softmax: what is right already counts less."""

from typing import Annotated

from torch import Tensor

from models.soft_targets import class_shares, in_float32, mean_cost

TARGETS = ("labels", "masks")


def focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: Annotated[float, "x >= 0"] = 2.0,
    label_smoothing: Annotated[float, "0 <= x < 1"] = 0.0,
    class_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Mean of (1 - p)^gamma times the cross entropy, p the probability of the true class.

    Lin et al. 2017, arxiv.org/abs/1708.02002, with a softmax in place of their sigmoid. Gamma 0 is cross entropy.

    Args:
        logits: (B, K, ...).
        targets: class indices int64 (B, ...), or shares of the classes (B, K, ...), after mixing: the mean of what
            each class costs, by its share.
        gamma: how fast the loss falls off towards p = 1.
        label_smoothing: share of each target spread evenly over the K classes.
        class_weights: (K,), the weight of each class; the mean is over weights. Their alpha.
        ignore_index: class index that counts nowhere.

    Returns:
        A scalar; 0 where nothing counts.
    """
    log_probs = in_float32(logits).log_softmax(dim=1)
    # 1 - p from the logarithm keeps its digits where p is near 1. Its power has no gradient at 0 if gamma is below 1.
    wrong = (-log_probs.expm1()).clamp_min(1e-12)
    shares = class_shares(log_probs, targets, ignore_index=ignore_index)
    costs = -log_probs * wrong**gamma
    return mean_cost(costs, shares, label_smoothing=label_smoothing, class_weights=class_weights)
