"""The pictures of an evaluation, drawn by matplotlib from plain numbers; it is imported when the first is drawn."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from reports.axes import WIDTH, finished

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BAR, GAP = "#1f6feb", "#c2255c"


def reliability_diagram(rows: Sequence[tuple[float, float, int, float, float]]) -> "Figure":
    """Accuracy against confidence, and how many images each bin holds.

    Args:
        rows: (low, high, images, mean confidence, accuracy) of each bin that holds an image.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    low, high, counts, confidence, accuracy = (np.array(column) for column in zip(*rows, strict=True))
    upper.bar(low, accuracy, width=high - low, align="edge", color=BAR, edgecolor="white", label="accuracy")
    upper.bar(
        low, confidence - accuracy, bottom=accuracy, width=high - low, align="edge", color=GAP, alpha=0.35, label="gap"
    )
    upper.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    lower.bar(low, counts, width=high - low, align="edge", color="#8a6d3b", edgecolor="white")
    lower.set(xlabel="confidence", ylabel="images", yscale="log", ylim=(0.8, None))
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    return finished(figure)


def rows_of_images(rows: Sequence[tuple[str, Tensor]]) -> "Figure":
    """Rows of images uint8 (N, C, H, W), each with its title on the left."""
    from matplotlib.figure import Figure

    columns = max(len(images) for _, images in rows)
    cell, left = 0.9, 2.2  # inches
    width, height = left + columns * cell + 0.1, len(rows) * (cell + 0.08) + 0.1
    figure = Figure(figsize=(width, height), facecolor="white")
    for row, (title, images) in enumerate(rows):
        floor = height - (row + 1) * (cell + 0.08)
        text = "\n".join(textwrap.wrap(title, 28))
        figure.text(0.1 / width, (floor + cell / 2) / height, text, fontsize=8.5, va="center", parse_math=False)
        for column, image in enumerate(images):
            box = ((left + column * cell) / width, floor / height, (cell - 0.06) / width, (cell - 0.06) / height)
            axes = figure.add_axes(box)
            picture = image.permute(1, 2, 0).squeeze(-1).cpu().numpy()  # (H, W) or (H, W, 3)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_axis_off()
    return figure
