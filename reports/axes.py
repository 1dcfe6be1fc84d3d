"""A figure with one pair of axes, as all charts here begin; matplotlib is imported with the first."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


WIDTH = 4.8
"""Inches of a chart; pages show all of them equally wide, so that one size of letters is one size on the page."""
SHORT = 16
"""Letters of a word in a legend up to which three stand side by side."""
LETTERS = 9
"""Points, of everything that is written in a chart."""


def finished(figure: "Figure") -> "Figure":
    """The figure with all its letters in one size, and its legend, where it has one, below the axes."""
    from matplotlib.text import Text

    for axes in figure.axes:
        axes.tick_params(labelsize=LETTERS)
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            columns = 3 if max(map(len, labels)) < SHORT else 1
            figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    for text in figure.findobj(Text):
        text.set_fontsize(LETTERS)
    return figure


def new_figure(*, width: float, height: float, title: str = "") -> "tuple[Figure, Any]":
    """A figure of its own, in inches: pyplot would keep it, and start a window system where there is one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        axes.set_title(title, loc="left", parse_math=False)
    return figure, axes
