"""A contact sheet: the same images in every row, first as they are, then as training sees them."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = 1.15  # inches, of one image
LINE, GAP = 0.14, 0.14  # inches, of a line of the label under it, and below that
LEFT, TOP, BOTTOM = 0.85, 0.45, 0.08
LEAST_SHARE = 0.005
"""Of a label; smaller shares would read 0.00."""


class Row(NamedTuple):
    """Images of one row, uint8 ``(B, C, H, W)``, and their targets, int64 ``(B,)`` or shares ``(B, K)``."""

    name: str
    images: Tensor
    targets: Tensor


def label_text(target: Tensor, class_names: Sequence[str]) -> str:
    """A class, the largest shares of a mixed label or the labels of a set, a line each, or the classes of a mask.

    Args:
        target: a scalar, shares ``(K,)`` such as `Coat 0.71`, `Bag 0.29`, or a mask ``(H, W)``.
        class_names: K names.
    """
    if target.ndim == 2:
        found = [class_names[label] for label in target.unique().tolist() if 0 < label < len(class_names)]
        return "\n".join(_cut(name, 18) for name in found[:3]) or "nothing"
    if target.ndim == 0 and target < 0:
        return "unreadable"
    if target.ndim == 0:
        return _cut(class_names[int(target)], 18)
    shares, classes = target.sort(descending=True, stable=True)
    parts = [(class_names[k], share) for share, k in zip(shares[:3].tolist(), classes[:3].tolist(), strict=True)]
    seen = [(name, share) for name, share in parts if share >= LEAST_SHARE]
    if all(share > 1 - LEAST_SHARE for _, share in seen):
        return "\n".join(_cut(name, 18) for name, _ in seen) or "no label"
    return "\n".join(f"{_cut(name, 13)} {share:.2f}" for name, share in seen)


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def contact_sheet(rows: Sequence[Row], class_names: Sequence[str], *, title: str, notes: str = "") -> "Figure":
    """Draw the rows under each other, each image with its label.

    Args:
        rows: with the same number of images each, grey or RGB.
        class_names: K names.
        title: one line.
        notes: smaller text below it, broken to the width.
    """
    from matplotlib.figure import Figure

    columns = len(rows[0].images)
    width = LEFT + columns * CELL + 0.1
    lines = textwrap.wrap(notes, int(width * 15.5), break_long_words=False) if notes else []
    top = TOP + 0.16 * len(lines)
    labels = [[label_text(target.cpu(), class_names) for target in row.targets] for row in rows]
    heights = [CELL + GAP + LINE * max(text.count("\n") + 1 for text in texts) for texts in labels]
    height = top + sum(heights) + BOTTOM
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(0.1 / width, 1 - 0.24 / height, title, fontsize=11, weight="bold", va="center", parse_math=False)
    for number, line in enumerate(lines):
        y = 1 - (0.46 + 0.16 * number) / height
        figure.text(0.1 / width, y, line, fontsize=7.5, color="#555555", va="center", parse_math=False)
    for r, row in enumerate(rows):
        floor = height - top - sum(heights[:r]) - CELL  # of the images, in inches from below
        figure.text(0.1 / width, (floor + CELL / 2) / height, row.name, fontsize=8.5, va="center", parse_math=False)
        for c in range(columns):
            box = ((LEFT + c * CELL + 0.04) / width, floor / height, (CELL - 0.08) / width, (CELL - 0.08) / height)
            axes = figure.add_axes(box)
            picture = row.images[c].permute(1, 2, 0).cpu().numpy()  # (H, W, C)
            grey = picture.shape[2] == 1
            axes.imshow(
                picture[..., 0] if grey else picture, cmap="gray" if grey else None, vmin=0, vmax=255,
                interpolation="nearest",
            )  # fmt: skip
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color="#bbbbbb", linewidth=0.6)
            label = axes.text(0.5, -0.04, labels[r][c], transform=axes.transAxes, fontsize=7.5, parse_math=False)
            label.set(ha="center", va="top")
    return figure
