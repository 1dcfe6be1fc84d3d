"""The pictures of a report, drawn by matplotlib from plain numbers; it is imported when the first is drawn."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from reports.axes import WIDTH, finished, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAIN, VALIDATION, BEST = "#8a6d3b", "#1f6feb", "#c2255c"
MOST_NUMBERS = 25
"""Classes up to which a confusion matrix shows its counts."""
MOST_NAMES = 60
"""Classes up to which it shows their names."""


def read_curves(metrics_csv: Path) -> dict[str, list[tuple[int, int | None, float]]]:
    """Metric -> points (step, epoch from 0 where the row has one, value)."""
    curves: dict[str, list[tuple[int, int | None, float]]] = {}
    with metrics_csv.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            epoch = int(float(row["epoch"])) if row.get("epoch") else None
            for name, value in row.items():
                if name not in ("step", "epoch") and value:
                    curves.setdefault(name, []).append((int(row["step"]), epoch, float(value)))
    return curves


def epoch_curves(
    curves: Mapping[str, Sequence[tuple[int, int | None, float]]], metric: str, best_epoch: int | None
) -> "Figure | None":
    """`train/METRIC` and `val/METRIC` against the epoch, the best epoch marked; None where neither was logged.

    Args:
        curves: as `read_curves` gives them.
        metric: `loss` or `accuracy`.
        best_epoch: counted from 0; None where no epoch was validated.
    """
    figure, axes = new_figure(width=WIDTH, height=3.1)
    drawn = False
    for split, colour in (("train", TRAIN), ("val", VALIDATION)):
        points = [(epoch + 1, value) for _, epoch, value in curves.get(f"{split}/{metric}", ()) if epoch is not None]
        if points:
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, color=colour, label=split, marker="." if len(points) < 40 else None)
            drawn = True
    if not drawn:
        return None
    if best_epoch is not None:
        axes.axvline(best_epoch + 1, color=BEST, linestyle="--", linewidth=1.2, label=f"best: epoch {best_epoch + 1}")
    axes.set(xlabel="epoch", title=metric)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return finished(figure)


def rate_curve(curves: Mapping[str, Sequence[tuple[int, int | None, float]]]) -> "Figure | None":
    """Learning rate against the step; None where it was not logged."""
    if not (points := curves.get("lr")):
        return None
    figure, axes = new_figure(width=WIDTH, height=3.1)
    axes.plot([step for step, _, _ in points], [rate for _, _, rate in points], color="#2b8a3e")
    axes.set(xlabel="step", title="learning rate", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True)
    return finished(figure)


def confusion_matrix(counts: Tensor, class_names: Sequence[str]) -> "Figure":
    """Counts (K, K), a true class a row; the shade is the share of its row."""
    table = counts.numpy()
    classes = len(class_names)
    side = min(max(3.6, 0.36 * classes + 1.6), 14.0)
    figure, axes = new_figure(width=side, height=side)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if classes <= MOST_NUMBERS:
        for row, column in zip(*table.nonzero(), strict=True):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(table[row, column]), ha="center", va="center", color=shade)
    if classes <= MOST_NAMES:
        names = [name if len(name) <= 14 else f"{name[:13]}…" for name in class_names]
        axes.set_xticks(range(classes), _plain(names), rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(classes), _plain(names))
    axes.set(xlabel="predicted", ylabel="true")
    return finished(figure)


def image_sheet(images: Tensor, captions: Sequence[str], *, columns: int) -> "Figure":
    """Images uint8 (N, C, H, W) of 1 or 3 channels in a grid, row by row, a text below each."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    gap = max(1, width // 16)
    below = round(height * 0.36)  # pixels of a caption of two lines
    sheet = np.full((rows * (height + below), columns * (width + gap) - gap, channels), 255, dtype=np.uint8)
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        y, x = index // columns * (height + below), index % columns * (width + gap)
        sheet[y : y + height, x : x + width] = image
    inches = 1.05 * columns
    figure, axes = new_figure(width=inches, height=inches * sheet.shape[0] / sheet.shape[1])
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    for index, caption in enumerate(_plain(captions)):
        bottom, middle = index // columns * (height + below) + height, index % columns * (width + gap) + width / 2
        axes.text(middle, bottom, caption, ha="center", va="top", fontsize=7, linespacing=0.95)
    return figure


def _plain(texts: Sequence[str]) -> list[str]:
    """Texts in which a dollar is a dollar: between two of them matplotlib reads a formula."""
    return [text.replace("$", r"\$") for text in texts]
