"""Margin loss of capsules: lengths of what is there are long, all others short, each by itself."""

from typing import Annotated

from torch import Tensor

from models.soft_targets import class_shares, in_float32, mean_cost

TARGETS = ("labels",)


def capsule_margin(
    logits: Tensor,
    targets: Tensor,
    *,
    present: Annotated[float, "0 < x <= 1"] = 0.9,
    absent: Annotated[float, "0 <= x < 1"] = 0.1,
    down_weight: Annotated[float, "x > 0"] = 0.5,
    class_weights: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """Mean of max(0, present - true length)^2 + down_weight * the sum of max(0, other length - absent)^2.

    Sabour, Frosst, Hinton 2017, arxiv.org/abs/1710.09829, equation 4.

    Args:
        logits: lengths of the capsules, (B, K), between 0 and 1.
        targets: class indices int64 (B,), or shares of the classes (B, K), after mixing: the mean of what each class
            costs, by its share.
        present: how long the capsule of the class in the image should be at least.
        absent: how long the others should be at most.
        down_weight: of the others, so that they do not shrink all capsules in the first steps.
        class_weights: (K,), the weight of each class; the mean is over weights.
        ignore_index: class index that counts nowhere.

    Returns:
        A scalar; 0 where nothing counts.
    """
    lengths = in_float32(logits)
    long_enough = (present - lengths).clamp_min(0) ** 2
    too_long = down_weight * (lengths - absent).clamp_min(0) ** 2
    costs = long_enough - too_long + too_long.sum(dim=1, keepdim=True)
    shares = class_shares(lengths, targets, ignore_index=ignore_index)
    return mean_cost(costs, shares, label_smoothing=0.0, class_weights=class_weights)
