"""Scores of each class from labels: confusion counts, precision, recall, F1; and the images that were hardest."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class HardImage:
    """A test image with its loss.

    Attributes:
        index: its place in the test split.
        image: uint8 (C, H, W), as the task draws it.
        true: what it shows, as text.
        predicted: what the net says, as text.
        loss: of this image.
        is_right: whether the net decides as the target does; False where an image has no one class.
    """

    index: int
    image: Tensor
    true: str
    predicted: str
    loss: float
    is_right: bool = False


class TestedImages(Protocol):
    """What a test remembers of its images, in the order of the split; `count` is their number."""

    count: int

    @property
    def labels(self) -> tuple[Tensor, Tensor] | None:
        """True and predicted class indices int64 (N,); None where images have no class."""

    @property
    def hardest(self) -> list[HardImage]:
        """Images of highest loss, mistakes first."""


def confusion(true: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts int64 (K, K): row is the true class, column the predicted one."""
    return torch.bincount(true * classes + predicted, minlength=classes * classes).view(classes, classes)


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """Scores of one class; one that is 0 / 0 is None: never predicted (precision), or not in the split (recall)."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def class_scores(counts: Tensor, class_names: tuple[str, ...]) -> list[ClassScore]:
    """Precision, recall, F1 and number of images of each class, from its confusion counts (K, K)."""
    return label_scores(counts.diagonal(), counts.sum(dim=0), counts.sum(dim=1), class_names)


def label_scores(hits: Tensor, claimed: Tensor, support: Tensor, class_names: tuple[str, ...]) -> list[ClassScore]:
    """The same from how often each class is right, predicted and true, int64 (K,)."""

    def share(part: float, whole: float) -> float | None:
        return part / whole if whole else None

    return [
        ClassScore(
            name=name,
            precision=share(hit, claim),
            recall=share(hit, images),
            f1=share(2 * hit, claim + images),
            support=images,
        )
        for name, hit, images, claim in zip(class_names, hits.tolist(), support.tolist(), claimed.tolist(), strict=True)
    ]
