"""What there is to know of a data set before training: sizes, balance, resolution, damaged and equal files."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from datamodules.base import ImageDataModule
from datamodules.sources.files import FileSource
from datamodules.sources.pictures import Refused, check_header
from datamodules.sources.source import Source
from datamodules.splits import hash_order
from datamodules.targets import are_masks, images_of_classes, text

MEASURED = 2000
"""Files of which the size in pixels is read."""
SHOWN = 3
"""Examples that are named."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Facts of a data set.

    Attributes:
        images: split -> number of images.
        classes: class -> number of training images, the largest class first.
        imbalance: largest class over the smallest.
        sides: shortest and longest side in pixels: smallest, median, largest of the measured images.
        shapes: how many different sizes they have.
        measured: of how many images the size was read.
        unreadable: reason -> files that were left out.
        copies: images that are equal to an earlier one, to the byte.
        across: groups of equal images that stand in more than one split: a test that was trained on.
        contradictions: groups of equal images with different classes.
    """

    images: dict[str, int]
    classes: dict[str, int]
    imbalance: float
    sides: dict[str, list[int]]
    shapes: int
    measured: int
    unreadable: dict[str, list[str]]
    copies: int
    across: list[list[str]]
    contradictions: list[list[str]]

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Say it in words."""
        total = ", ".join(f"{split} {count}" for split, count in self.images.items())
        named = list(self.classes.items())
        shown = named if len(named) <= 10 else [*named[:2], ("...", 0), *named[-2:]]
        lines = [
            f"images: {total}",
            f"classes: {len(named)} ({', '.join(f'{name} {count}' if count else name for name, count in shown)})",
            f"balance: the largest class has {self.imbalance:.3g} times the images of the smallest",
        ]
        if self.imbalance >= 3:
            lines[-1] += "; see data.balance=oversample, loss.class_weights=balanced, monitor=val/f1_macro"
        sides = "; ".join(f"{name} side {' / '.join(map(str, three))}" for name, three in self.sides.items())
        lines.append(
            f"resolution, smallest / median / largest: {sides} pixels; {self.measured} images of {self.shapes} sizes"
        )
        for reason, files in self.unreadable.items():
            more = ", ..." if len(files) > SHOWN else ""
            lines.append(f"left out: {len(files)} {reason} ({', '.join(files[:SHOWN])}{more})")
        if not self.unreadable:
            lines.append("left out: none")
        across, torn = _groups(self.across), _groups(self.contradictions)
        lines.append(f"equal images: {self.copies} copies; in several splits: {across}; in two classes: {torn}")
        return lines


def overview(data: ImageDataModule) -> Overview:
    """Look at a data set that is set up.

    Every file with another's size is hashed; the sizes in pixels are read from the heads of at most `MEASURED` files.
    """
    targets = data.splits["train"].targets
    counts = dict(zip(data.class_names, images_of_classes(targets, len(data.class_names)).tolist(), strict=True))
    if are_masks(targets):
        del counts[data.class_names[0]]  # the background
    left_out: dict[str, list[str]] = {}
    for key, _, split in data.split_table():
        if split.startswith("left out: "):
            left_out.setdefault(split.removeprefix("left out: "), []).append(key)
    groups = list(_equal_images(data))
    sides = [side for source in data.splits.values() for side in _sides(source, MEASURED // len(data.splits))]
    return Overview(
        images={split: len(source) for split, source in data.splits.items()},
        classes=dict(sorted(counts.items(), key=lambda one: -one[1])),
        imbalance=max(counts.values()) / max(1, min(counts.values())),
        sides={
            "short": _three([min(one) for one in sides]),
            "long": _three([max(one) for one in sides]),
        },
        shapes=len(set(sides)),
        measured=len(sides),
        unreadable=left_out,
        copies=sum(len(group) - 1 for group in groups),
        across=[_named(group) for group in groups if len({split for split, _, _ in group}) > 1],
        contradictions=[_named(group) for group in groups if len({target for _, target, _ in group}) > 1],
    )


Found = tuple[str, str, str]
"""Split, what it is labelled with, and key of an image."""


def _equal_images(data: ImageDataModule) -> Iterator[list[Found]]:
    """Groups of images that are the same, to the byte."""
    same: dict[bytes, list[Found]] = {}
    sizes = Counter(
        size for source in data.splits.values() if isinstance(source, FileSource) for size in source.sizes.tolist()
    )
    for split, source in data.splits.items():
        for index, (key, target) in enumerate(zip(source.keys, source.targets, strict=True)):
            if isinstance(source, FileSource):
                if sizes[int(source.sizes[index])] == 1:
                    continue
                with (source.folder / key).open("rb") as file:
                    digest = hashlib.file_digest(file, "blake2b").digest()
            else:
                digest = hashlib.blake2b(source.image(index, 0).contiguous().numpy().data).digest()
            same.setdefault(digest, []).append((split, text(target, data.class_names), key))
    yield from (group for group in same.values() if len(group) > 1)


def _sides(source: Source, most: int) -> list[tuple[int, int]]:
    """Sizes in pixels, of some images that their keys choose."""
    if not isinstance(source, FileSource):
        height, width = source.image(0, 0).shape[-2:]
        return [(int(width), int(height))] * len(source)  # arrays share one
    found = []
    for index in hash_order(source.keys, "size", 0)[:most].tolist():
        try:
            found.append(check_header(source.folder / source.keys[index]))
        except Refused:
            continue  # with data.check=off; training will say so
    return found


def _three(values: list[int]) -> list[int]:
    return [min(values), int(statistics.median_low(values)), max(values)] if values else []


def _named(group: list[Found]) -> list[str]:
    return [f"{split} {key}" for split, _, key in group]


def _groups(groups: list[list[str]]) -> str:
    if not groups:
        return "none"
    shown = "; ".join(" = ".join(group[:SHOWN]) for group in groups[:SHOWN])
    return f"{len(groups)} groups ({shown}{'; ...' if len(groups) > SHOWN else ''})"


def sample(targets: torch.Tensor, keys: Any, most: int) -> torch.Tensor:
    """Choose up to ``most`` images, of each class about as many: int64 indices in the order of the keys' hash.

    Args:
        targets: int64 ``(N,)``.
        keys: one a image.
        most: how many in all; at least two of each class, where it has two.
    """
    order = hash_order(keys, "sample", 0)
    each = max(2, most // max(1, int(targets.unique().numel())))
    chosen = [order[targets[order] == label][:each] for label in targets.unique().tolist()]
    return torch.cat(chosen)
