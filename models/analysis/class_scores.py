"""Scores of each class from labels: confusion counts, precision, recall, F1; and the images that were hardest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

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
class ClassCounts:
    """What scores of classes are made of, each (K,); every precision, recall, F1 and IoU here comes from these.

    A score that is 0 / 0 is 0, as in scikit-learn.

    Attributes:
        hits: images (or pixels) of each class that were taken for it.
        claimed: those that were taken for it, rightly or not.
        support: those of it.
    """

    hits: Tensor
    claimed: Tensor
    support: Tensor

    @classmethod
    def of(cls, counts: Tensor) -> Self:
        """From confusion counts (K, K), true by predicted class."""
        return cls(hits=counts.diagonal(), claimed=counts.sum(dim=0), support=counts.sum(dim=1))

    def only(self, chosen: Tensor) -> Self:
        """Some of the classes, bool (K,)."""
        return type(self)(hits=self.hits[chosen], claimed=self.claimed[chosen], support=self.support[chosen])

    @property
    def occurring(self) -> Self:
        """The classes that are there; macro averages of labels are over these."""
        return self.only(self.support > 0)

    @property
    def seen(self) -> Self:
        """The classes that are there or were claimed; averages of masks are over these."""
        return self.only(self.support + self.claimed > 0)

    @property
    def precision(self) -> Tensor:
        """Share of what was claimed that is right."""
        return self.hits / self.claimed.clamp_min(1)

    @property
    def recall(self) -> Tensor:
        """Share of what is there that was found."""
        return self.hits / self.support.clamp_min(1)

    @property
    def f1(self) -> Tensor:
        """Harmonic mean of both; of masks it is called Dice."""
        return 2 * self.hits / (self.claimed + self.support).clamp_min(1)

    @property
    def iou(self) -> Tensor:
        """Intersection over union (Jaccard's index)."""
        return self.hits / (self.claimed + self.support - self.hits).clamp_min(1)

    @property
    def f1_micro(self) -> Tensor:
        """F1 over all decisions, a scalar."""
        return 2 * self.hits.sum() / (self.claimed + self.support).sum().clamp_min(1)


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """Scores of one class; one that is 0 / 0 is None: never predicted (precision), or not in the split (recall)."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def class_scores(counts: Tensor, class_names: Sequence[str]) -> list[ClassScore]:
    """Precision, recall, F1 and number of images of each class, from its confusion counts (K, K)."""
    return label_scores(ClassCounts.of(counts), class_names)


def label_scores(counts: ClassCounts, class_names: Sequence[str]) -> list[ClassScore]:
    """The same of labels, of which an image may have several."""
    counts = ClassCounts(hits=counts.hits.double(), claimed=counts.claimed.double(), support=counts.support.double())
    columns = zip(
        class_names,
        shares(counts.precision, counts.claimed),
        shares(counts.recall, counts.support),
        shares(counts.f1, counts.claimed + counts.support),
        counts.support.tolist(),
        strict=True,
    )
    return [
        ClassScore(name=name, precision=precision, recall=recall, f1=f1, support=int(images))
        for name, precision, recall, f1, images in columns
    ]


def shares(scores: Tensor, of: Tensor) -> list[float | None]:
    """Scores (K,) as numbers; None for those of nothing, which are 0 / 0."""
    return [score if whole else None for score, whole in zip(scores.tolist(), of.tolist(), strict=True)]
