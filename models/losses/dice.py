"""Soft Dice loss: how little the predicted and the true region of each class overlap."""

from typing import Annotated

from torch import Tensor

from models.soft_targets import class_shares, in_float32

TARGETS = ("masks",)


def dice(
    logits: Tensor,
    targets: Tensor,
    *,
    smooth: Annotated[float, "x >= 0"] = 0.0,
    ignore_index: int = -100,
) -> Tensor:
    """1 less the mean of the Dice coefficients of the classes that occur in the batch.

    Of a class with probabilities p and truth t (0 or 1) over all pixels of the batch it is
    (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth): Milletari et al. 2016, arxiv.org/abs/1606.04797, with plain
    sums in the denominator (Drozdzal et al. 2016, arxiv.org/abs/1608.04117).

    Args:
        logits: (B, K, ...).
        targets: class indices int64 (B, ...).
        smooth: added above and below; the larger, the less a small region counts.
        ignore_index: class index that counts nowhere.

    Returns:
        A scalar; 0 where nothing counts.

    Raises:
        ValueError: the targets are shares of classes.
    """
    if targets.is_floating_point():
        raise ValueError(
            "the Dice loss compares regions of one class each, and these targets are shares of several classes: "
            "take out what mixes masks (mixup), or use loss=cross_entropy"
        )
    logits = in_float32(logits)
    pixels = [0, *range(2, logits.ndim)]
    true = class_shares(logits, targets, ignore_index=ignore_index)
    probs = logits.softmax(dim=1) * true.sum(dim=1, keepdim=True)  # nothing where a pixel is ignored
    size = true.sum(dim=pixels)
    occurs = (size > 0).to(logits.dtype)
    overlap = 2 * (probs * true).sum(dim=pixels) + smooth
    whole = probs.sum(dim=pixels) + size + smooth
    missing = (1 - overlap / whole.clamp_min(1e-12)) * occurs
    return missing.sum() / occurs.sum().clamp_min(1)
