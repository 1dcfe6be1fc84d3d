"""Pictures of the loss against the learning rate; matplotlib is imported when the first is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.lr_finder import LossCurve, Suggestion
from reports.axes import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#1f6feb", "#c2255c", "#2b8a3e", "#e8590c", "#6741d9", "#0c8599", "#8a6d3b", "#495057")


def range_chart(curve: LossCurve, suggestion: Suggestion | None, *, title: str) -> Figure:
    """The loss against the rate, on a logarithmic axis, with both suggestions marked."""
    figure, axes = new_figure(width=7.2, height=4.4, title=title)
    axes.plot(curve.rates, curve.losses, color="#b9c2cc", linewidth=0.9, label="loss of each step")
    axes.plot(curve.rates, curve.smoothed, color=COLOURS[0], linewidth=1.8, label="running mean")
    if suggestion:
        marks = (("steepest descent", suggestion.steepest, COLOURS[1]), ("minimum / 10", suggestion.tenth, COLOURS[2]))
        for name, rate, colour in marks:
            axes.axvline(rate, color=colour, linestyle="--", linewidth=1.2, label=f"{name}: {rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=_range([curve.smoothed, curve.losses]))
    axes.legend(frameon=False, fontsize=9)
    return figure


def comparison_chart(curves: Sequence[LossCurve], *, title: str) -> Figure:
    """The running mean of the loss against the step, one line a rate; what became no number ends in a cross."""
    figure, axes = new_figure(width=7.2, height=4.4, title=title)
    for curve, colour in zip(curves, COLOURS, strict=False):
        smoothed = [value for value in curve.smoothed if math.isfinite(value)]
        after = "diverged" if curve.score is None else f"{curve.score[0]} {curve.score[1]:.3f}"
        steps = range(1, len(smoothed) + 1)
        axes.plot(steps, smoothed, color=colour, linewidth=1.6, label=f"{curve.rates[0]:g}: {after}")
        if curve.score is None and smoothed:
            axes.plot(steps[-1], smoothed[-1], marker="x", color=colour, markersize=9)
    axes.set(xlabel="step", ylabel="training loss, running mean", ylim=_range([curve.smoothed for curve in curves]))
    axes.legend(frameon=False, fontsize=9, title="learning rate, held constant", title_fontsize=9, alignment="left")
    return figure


def _range(curves: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """Limits that show where losses fall: one that explodes would flatten all others."""
    finite = [[value for value in curve if math.isfinite(value)] for curve in curves]
    starts = [curve[0] for curve in finite if curve]
    if not starts:
        return None
    low, top = min(min(curve) for curve in finite if curve), max(starts)
    margin = 0.08 * max(top - low, 1e-6)
    return low - margin, top + 4 * margin
