"""What images are labelled with, told apart by structure: one label, a set of labels, or a mask of pixels.

=============  ==============  =========  =======================================================
targets        type            shape      padding, which counts nowhere
=============  ==============  =========  =======================================================
`labels`       int64           (N,)       -1
`multilabels`  float32         (N, K)     -1 in each place; else 0 or 1, or shares after mixing
`masks`        uint8 or int64  (N, H, W)  255 in each pixel, as for pixels that are to be ignored
=============  ==============  =========  =======================================================
"""

from collections.abc import Sequence

import torch

IGNORE = 255
"""Pixels of a mask that count nowhere; so are those that come in from outside when an image moves."""
PADDING = -1


def are_masks(targets: torch.Tensor) -> bool:
    """Whether targets, of a batch or of a data set, are masks."""
    return targets.ndim == 3


def blanked(targets: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """A copy with padding for the images where ``where`` (bool ``(B,)``) is true."""
    where = where.view(-1, *[1] * (targets.ndim - 1))
    return targets.masked_fill(where, IGNORE if are_masks(targets) else PADDING)


def strata(targets: torch.Tensor) -> torch.Tensor:
    """Return int64 ``(N,)``: what splits, subsets and balanced draws keep in proportion, one class an image.

    Of several classes in an image it is the rarest one of the data set, so that rare classes are in every split (after
    K. Sechidis et al., On the Stratification of Multi-Label Data, 2011). An image without any (of a mask: nothing but
    class 0 and ignored pixels) has a stratum of its own, behind the classes.
    """
    if targets.ndim == 1:
        return targets
    present = torch.stack([_present(target) for target in targets]) if are_masks(targets) else targets > 0
    counts = present.sum(dim=0)
    classes = present.shape[1]
    order = torch.where(counts > 0, counts, len(targets) + 1).argsort(stable=True)  # rarest first
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(classes)
    rarest = torch.where(present, ranks, classes).min(dim=1).values
    return torch.cat((order, order.new_tensor([classes])))[rarest]


def images_of_classes(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Return int64 ``(classes,)``: in how many images each class occurs; class 0 of masks in none."""
    if targets.ndim == 1:
        return targets.bincount(minlength=classes)
    present = torch.stack([_present(target) for target in targets])[:, :classes] if are_masks(targets) else targets > 0
    return present.sum(dim=0)


def _present(mask: torch.Tensor) -> torch.Tensor:
    """Bool ``(256,)``: which classes but 0 and the ignored one a mask holds."""
    found = mask.flatten().to(torch.int64).bincount(minlength=256)[:256] > 0
    found[0] = found[IGNORE] = False
    return found


def text(target: torch.Tensor, class_names: Sequence[str]) -> str:
    """What an image is labelled with, for a table: a name, or names joined by `|`."""
    if target.ndim == 0:
        return class_names[int(target)]
    present = (target > 0).nonzero()[:, 0] if target.ndim == 1 else _present(target).nonzero()[:, 0]
    return "|".join(class_names[index] for index in present.tolist() if index < len(class_names))
