"""How good probabilities are: accuracy, per-class scores, proper scores and calibration, with bootstrap intervals.

Pure functions of probabilities (N, K) and targets (N,). "macro" is the plain mean over the classes that occur among the
targets, "weighted" their mean by number of images; a score that is 0 / 0 counts as 0, as in scikit-learn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.analysis.class_scores import ClassCounts

BINS = 15
MEANING = {
    "accuracy": "share of the images whose most probable class is the true one (micro average)",
    "accuracy_macro": "mean recall over the classes that occur (macro average, balanced accuracy)",
    "top5_accuracy": "share of the images whose true class is among the five most probable",
    "precision_macro": "mean precision over the classes that occur; 0 for a class that is never predicted",
    "recall_macro": "mean recall over the classes that occur; the same as accuracy_macro",
    "f1_macro": "mean F1 over the classes that occur",
    "precision_weighted": "mean precision, each class by its number of images",
    "f1_weighted": "mean F1, each class by its number of images",
    "loss": "mean negative log-likelihood (NLL) of the true class, natural logarithm",
    "brier": "mean over images of the squared distance between probabilities and the true class as 0 and 1 (0 to 2)",
    "ece": f"expected calibration error: |accuracy - confidence| over {BINS} bins of equal width, by images",
}
INTERVALS = ("accuracy", "accuracy_macro", "top5_accuracy", "f1_macro", "loss", "brier", "ece")
"""Those that get an interval."""
SHARES = ("accuracy", "top5_accuracy")
"""Shares of the images: theirs is Wilson's, as everywhere; the others' is the percentile bootstrap."""


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """What each image adds to the scores, all (N,): int64 labels and bins of the confidence, bools, float64 scores."""

    targets: Tensor
    predicted: Tensor
    correct: Tensor
    in_top5: Tensor
    confidence: Tensor
    loss: Tensor
    brier: Tensor
    bins: Tensor
    classes: int


def per_image(probs: Tensor, targets: Tensor) -> PerImage:
    """Score each image.

    Args:
        probs: float64 (N, K), rows that sum to 1.
        targets: int64 (N,).
    """
    true = probs.gather(1, targets[:, None])[:, 0]
    predicted = probs.argmax(dim=1)
    confidence = probs.gather(1, predicted[:, None])[:, 0]
    return PerImage(
        targets=targets,
        predicted=predicted,
        correct=predicted == targets,
        in_top5=(probs > true[:, None]).sum(dim=1) < 5,
        confidence=confidence,
        loss=-true.clamp_min(torch.finfo(torch.float64).tiny).log(),
        brier=(probs**2).sum(dim=1) - 2 * true + 1,
        bins=_bins(confidence),
        classes=probs.shape[1],
    )


def scores(images: PerImage, weights: Tensor | None = None) -> dict[str, float]:
    """All scores of `MEANING`; top-5 only where there are more than five classes.

    Args:
        images: what each adds.
        weights: float64 (N,), how often each image counts; None counts each once.
    """
    if weights is None:
        weights = torch.ones(len(images.targets), dtype=torch.float64)
    total = weights.sum()

    def count(labels: Tensor, by: Tensor, size: int = images.classes) -> Tensor:
        return torch.bincount(labels, weights=by, minlength=size)

    classes = ClassCounts(
        hits=count(images.targets, weights * images.correct),
        claimed=count(images.predicted, weights),
        support=count(images.targets, weights),
    ).occurring
    precision, recall, f1 = classes.precision, classes.recall, classes.f1
    share = classes.support / total
    gap = count(images.bins, weights * (images.correct.double() - images.confidence), BINS)
    found = {
        "accuracy": (weights * images.correct).sum() / total,
        "accuracy_macro": recall.mean(),
        "top5_accuracy": (weights * images.in_top5).sum() / total,
        "precision_macro": precision.mean(),
        "recall_macro": recall.mean(),
        "f1_macro": f1.mean(),
        "precision_weighted": (share * precision).sum(),
        "f1_weighted": (share * f1).sum(),
        "loss": (weights * images.loss).sum() / total,
        "brier": (weights * images.brier).sum() / total,
        "ece": gap.abs().sum() / total,
    }
    if images.classes <= 5:
        del found["top5_accuracy"]
    return {name: value.item() for name, value in found.items()}


def intervals(images: PerImage, *, resamples: int, seed: int) -> dict[str, list[float]]:
    """The 95 % interval of each of `INTERVALS`; with no resamples, of `SHARES` alone."""
    drawn, values = bootstrap_intervals(images, resamples=resamples, seed=seed), scores(images)
    shares = {name: wilson_interval(values[name], len(images.targets)) for name in SHARES if name in values}
    return {name: (drawn | shares)[name] for name in INTERVALS if name in shares or name in drawn}


def method(name: str) -> str:
    """Whose interval a score has."""
    return "Wilson" if name in SHARES else "bootstrap"


def bootstrap_intervals(images: PerImage, *, resamples: int, seed: int) -> dict[str, list[float]]:
    """95 % percentile intervals: the images are drawn with replacement, `resamples` times (B. Efron 1979)."""
    if not resamples:
        return {}
    draws = torch.Generator().manual_seed(seed)
    size = len(images.targets)
    found = []
    for _ in range(resamples):
        drawn = torch.randint(size, (size,), generator=draws)
        found.append(scores(images, torch.bincount(drawn, minlength=size).double()))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return {
        name: torch.tensor([one[name] for one in found], dtype=torch.float64).quantile(ends).tolist()
        for name in INTERVALS
        if name in found[0]
    }


def reliability(images: PerImage) -> list[tuple[float, float, int, float, float]]:
    """(low, high, images, mean confidence, accuracy) of each bin that holds an image."""
    rows = []
    for place in range(BINS):
        inside = images.bins == place
        if number := int(inside.sum()):
            confidence, accuracy = (
                images.confidence[inside].mean().item(),
                images.correct[inside].double().mean().item(),
            )
            rows.append((place / BINS, (place + 1) / BINS, number, confidence, accuracy))
    return rows


def _bins(confidence: Tensor) -> Tensor:
    """Bin (low, high] of each confidence, as in C. Guo et al., On Calibration of Modern Neural Networks (2017)."""
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    return torch.bucketize(confidence, edges[1:-1])


def wilson_interval(share: float, count: int) -> list[float]:
    """95 % interval of a share of `count` independent trials (Wilson 1927)."""
    z = 1.959963984540054
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [max(0.0, centre - half), min(1.0, centre + half)]
