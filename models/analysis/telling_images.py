"""Which images tell most about a net: right and sure, right and unsure, wrong and sure."""

from __future__ import annotations

from torch import Tensor

KINDS = ("right and sure", "right and unsure", "wrong and sure")


def telling_images(right: Tensor, confidence: Tensor, *, each: int) -> list[tuple[int, str]]:
    """Index and kind of up to `each` images of each kind, kind by kind; none stands twice.

    Args:
        right: whether each image's answer is right, bool (N,).
        confidence: the probability of each answer, float (N,).
        each: images of a kind.
    """
    down = confidence.argsort(descending=True, stable=True).tolist()
    good, bad = ([index for index in down if bool(right[index]) is wanted] for wanted in (True, False))
    rest = good[each:]
    chosen = (good[:each], rest[::-1][:each], bad[:each])
    return [(index, kind) for kind, indices in zip(KINDS, chosen, strict=True) for index in indices]
