"""A figure with one pair of axes, as all charts here begin; matplotlib is imported with the first."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(*, width: float, height: float, title: str = "") -> "tuple[Figure, Any]":
    """A figure of its own, in inches: pyplot would keep it, and start a window system where there is one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, fontsize=11, loc="left", parse_math=False)
    return figure, axes
