"""Size of the data x similarity to what the weights have seen -> a mode of transfer, a batch size, a first rate.

The table is the usual one (for instance Stanford's CS231n, "Transfer learning"). Where its borders lie nobody knows:
all numbers here are rules of thumb, said beside the evidence, to be overruled by a short run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.analysis.separability import Probe

Amount = Literal["small", "large"]
Similarity = Literal["similar", "somewhat dissimilar", "very dissimilar"]

LARGE_CLASS, LARGE_ALL = 500, 5000
"""Training images of the median class, and of all, from which a data set counts as large."""
CLOSED_SIMILAR, CLOSED_SOMEWHAT = 0.5, 0.1
"""Share of the error of the best features without pretraining that pretrained ones have to take away."""
SOLVED = 0.95
"""Accuracy from which frozen features are good enough, whatever other features reach."""

TABLE: dict[tuple[Amount, Similarity], tuple[str | None, str]] = {
    ("small", "similar"): ("head_only", "the features fit as they are, and more would be learnt by heart"),
    ("small", "somewhat dissimilar"): ("partial", "early stages fit, late ones have to change; too few images for all"),
    ("small", "very dissimilar"): (
        None,
        "collect more data: neither the features nor the images are enough; until then transfer=full is a try",
    ),
    ("large", "similar"): ("discriminative", "a good start, and enough images to move all of it; early stages least"),
    ("large", "somewhat dissimilar"): ("gradual", "the head first, then the rest, so that the start is not lost"),
    ("large", "very dissimilar"): ("scratch", "the features do not help, and there are images enough to learn others"),
}
"""Mode and reason for each cell; None: no mode."""
EXTRA = {"gradual": {"transfer.schedule": "everything"}}

RATES: dict[str, dict[str, float]] = {
    "adaptive": {
        "scratch": 2e-3,
        "head_only": 3e-3,
        "partial": 5e-4,
        "gradual": 5e-4,
        "discriminative": 5e-4,
        "full": 2e-4,
    },
    "sgd": {
        "scratch": 0.1,
        "head_only": 0.03,
        "partial": 0.01,
        "gradual": 0.01,
        "discriminative": 0.01,
        "full": 5e-3,
    },
}
"""First rates of Adam and its kin, and of SGD with momentum 0.9."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A first thing to try.

    Attributes:
        cell: amount and similarity, the place in the table.
        mode: of transfer; None where there is none to be recommended.
        reason: why.
        settings: key -> value, for the command line.
    """

    cell: tuple[Amount, Similarity]
    mode: str | None
    reason: str
    settings: dict[str, str] = field(default_factory=dict)


def amount(counts: list[int]) -> Amount:
    """Say whether the training images are many.

    Args:
        counts: of each class.
    """
    middle = sorted(counts)[len(counts) // 2]
    return "large" if middle >= LARGE_CLASS and sum(counts) >= LARGE_ALL else "small"


def similarity(pretrained: Probe, *others: Probe) -> tuple[Similarity, float]:
    """Say how like the images are to those of the weights, and the share of the error that pretraining takes away.

    Args:
        pretrained: of the features of the pretrained net.
        others: of the untrained net and of the pixels.
    """
    best = max(others, key=lambda other: other.linear)
    gain = pretrained.linear - best.linear
    closed = gain / max(1 - best.linear, 1e-9)
    if pretrained.linear >= SOLVED and gain > 0:
        return "similar", closed
    if closed < CLOSED_SOMEWHAT or gain < 2 * math.hypot(pretrained.error, best.error):
        return "very dissimilar", closed
    return ("similar" if closed >= CLOSED_SIMILAR else "somewhat dissimilar"), closed


def batch_size(images: int) -> int:
    """A power of two that leaves about fifty steps an epoch, from 16 to 128."""
    return 2 ** min(7, max(4, round(math.log2(max(1, images) / 50))))


def default_batch_size(images: int, *, parts: int = 1) -> int:
    """What `data.batch_size=null` stands for: as `batch_size`, from 8 to 64, so that small data have steps to learn by.

    Args:
        images: that are trained on.
        parts: processes x accumulation steps, of which it is a multiple, with two images in each.
    """
    size = min(64, batch_size(images))
    while size > 8 and images // size < 4:
        size //= 2
    return max(2 * parts if parts > 1 else size, size // parts * parts)


def advise(counts: list[int], similar: Similarity, *, optimizer: str) -> Advice:
    """Look the place up in the table.

    Args:
        counts: training images of each class.
        similar: as `similarity` has it.
        optimizer: whose rate is wanted.
    """
    cell = (amount(counts), similar)
    mode, reason = TABLE[cell]
    settings = {} if mode is None else {"transfer": mode, **EXTRA.get(mode, {})}
    return Advice(
        cell=cell, mode=mode, reason=reason, settings={**settings, **first_settings(counts, mode or "full", optimizer)}
    )


def first_settings(counts: list[int], mode: str, optimizer: str) -> dict[str, str]:
    """Batch size and learning rate to begin with, as words of the command line."""
    rates = RATES["sgd" if optimizer == "sgd" else "adaptive"]
    rate = rates.get(mode, rates["full"])  # a fork's mode
    return {"data.batch_size": str(batch_size(sum(counts))), "optimizer.lr": f"{rate:g}"}


COLUMNS = ("features", "numbers", "linear", "nearest")


def rows(probes: Mapping[str, Probe]) -> list[tuple[str, int, str, str]]:
    """`COLUMNS` for each kind of features."""
    return [
        (name, one.features, f"{one.linear:.3f} +- {one.error:.3f}", f"{one.neighbours:.3f}")
        for name, one in probes.items()
    ]


def said(probes: Mapping[str, Probe], advice: Advice, closed: float) -> list[str]:
    """The evidence and what follows from it, in words.

    Args:
        probes: `pretrained` first, then what it is compared with.
        advice: as `advise` gives it.
        closed: as `similarity` gives it.
    """
    first = next(iter(probes.values()))
    lines = [f"these features separate the classes of {first.images} training images so well, cross-validated"]
    size, similar = advice.cell
    lines.append(f"similarity: {similar}: pretraining takes {max(0.0, closed):.0%} off the error of the best others")
    lines.append(
        f"  (rule of thumb: {CLOSED_SIMILAR:.0%} off, or {SOLVED} right, is similar; {CLOSED_SOMEWHAT:.0%} and two "
        "standard errors are somewhat dissimilar)"
    )
    lines.append(
        f"size: {size} (rule of thumb: large from {LARGE_CLASS} images in the median class, {LARGE_ALL} in all)"
    )
    mode = "no mode" if advice.mode is None else f"transfer={advice.mode}"
    return [*lines, f"{size} and {similar}: {mode}; {advice.reason}"]


def blind(counts: list[int]) -> list[str]:
    """What the size alone says, where there is no evidence of similarity."""
    size = amount(counts)
    cells = [
        f"{similar}: {f'transfer={mode}' if mode else 'collect more data'}"
        for (each, similar), (mode, _) in TABLE.items()
        if each == size
    ]
    return [f"size: {size}; by the similarity to what weights have seen: {'; '.join(cells)}"]
