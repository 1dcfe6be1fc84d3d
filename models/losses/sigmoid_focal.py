"""Focal loss of the sigmoid: each class against all others, and what is right already counts less."""

from typing import Annotated

from torch import Tensor
from torch.nn import functional

from models.soft_targets import binary_targets, divided, in_float32

TARGETS = ("labels", "multilabels", "masks")


def sigmoid_focal(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: Annotated[float, "x >= 0"] = 2.0,
    alpha: Annotated[float, "0 < x < 1"] | None = None,
    label_smoothing: Annotated[float, "0 <= x < 1"] = 0.0,
    class_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Mean over images and classes of (1 - p)^gamma times the binary cross entropy, p the probability of the truth.

    Lin et al. 2017, arxiv.org/abs/1708.02002.

    Args:
        logits: (B, K, ...).
        targets: class indices int64 (B, ...); or for each class 0, 1 or a share (B, K, ...), where `ignore_index`
            says that it is not known.
        gamma: how fast the loss falls off towards p = 1; 0 is binary cross entropy.
        alpha: weight of a class that is there, and 1 - alpha of one that is not; None weighs both 1.
        label_smoothing: moves each target this share of the way to 1/2.
        class_weights: (K,), the weight of each class; the mean is over images and classes.
        ignore_index: target that counts nowhere.

    Returns:
        A scalar; 0 where nothing counts.
    """
    logits = in_float32(logits)
    there, counted = binary_targets(logits, targets, label_smoothing=label_smoothing, ignore_index=ignore_index)
    wrong = there * (-logits).sigmoid() + (1 - there) * logits.sigmoid()
    costs = functional.binary_cross_entropy_with_logits(logits, there, counted, reduction="none")
    costs = costs * wrong.clamp_min(1e-12) ** gamma  # a power below 1 has no gradient at 0
    if alpha is not None:
        costs = costs * (alpha * there + (1 - alpha) * (1 - there))
    if class_weights is not None:
        costs = costs * class_weights.to(costs.dtype).view(-1, *[1] * (costs.ndim - 2))
    return divided(costs.sum(), counted.sum())
