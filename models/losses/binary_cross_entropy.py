"""Binary cross entropy: each class against all others, by a sigmoid."""

from typing import Annotated

from torch import Tensor
from torch.nn import functional

from models.soft_targets import binary_targets, divided, in_float32

TARGETS = ("labels", "multilabels", "masks")


def binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    label_smoothing: Annotated[float, "0 <= x < 1"] = 0.0,
    positive_weight: Annotated[float, "x > 0"] = 1.0,
    class_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Mean over images and classes of the binary cross entropy.

    For one label an image: Beyer et al. 2020, arxiv.org/abs/2006.07159, and Wightman et al. 2021,
    arxiv.org/abs/2110.00476.

    Args:
        logits: (B, K, ...).
        targets: class indices int64 (B, ...); or for each class 0, 1 or a share (B, K, ...), where `ignore_index`
            says that it is not known.
        label_smoothing: moves each target this share of the way to 1/2.
        positive_weight: weight of a class that is there against one that is not; torch's `pos_weight`.
        class_weights: (K,), the weight of each class; the mean is over images and classes, as torch's own is.
        ignore_index: target that counts nowhere.

    Returns:
        A scalar; 0 where nothing counts.
    """
    logits = in_float32(logits)
    there, counted = binary_targets(logits, targets, label_smoothing=label_smoothing, ignore_index=ignore_index)
    costs = functional.binary_cross_entropy_with_logits(logits, there, counted, reduction="none")
    if positive_weight != 1:
        # That of logit z and target t is -t log sigmoid(z) - (1 - t) log sigmoid(-z); this adds to the first part.
        costs = costs - (positive_weight - 1) * counted * there * functional.logsigmoid(logits)
    if class_weights is not None:
        costs = costs * class_weights.to(costs.dtype).view(-1, *[1] * (costs.ndim - 2))
    return divided(costs.sum(), counted.sum())
