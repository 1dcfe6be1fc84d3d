"""What of a net's outputs is explained: one number an image, linear in the outputs."""

from __future__ import annotations

from torch import Tensor


def wanted_score(outputs: Tensor, wanted: Tensor) -> Tensor:
    """The score of each image, float (B,).

    Args:
        outputs: logits (B, K), or (B, K, H, W) of a segmentation.
        wanted: classes int64 (B,) of logits; or how much each output counts, of the outputs' shape.
    """
    if wanted.ndim == 1:
        return outputs.gather(1, wanted[:, None])[:, 0]
    return (outputs * wanted).flatten(1).sum(dim=1)
