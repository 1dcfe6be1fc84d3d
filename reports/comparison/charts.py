"""The pictures of a comparison: ranking, curves over each other, settings against the metric; matplotlib."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reports.axes import new_figure
from reports.comparison.ideas import setting, text
from reports.comparison.result import Result, Row
from reports.comparison.runs import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#1f6feb", "#c2255c", "#2b8a3e", "#b8590f", "#6741d9", "#0c8599", "#8a6d3b", "#495057", "#d6336c", "#5c940d")
OTHERS = "#adb5bd"
MOST_RANKED = 30
MOST_SETTINGS = 12


def charts(result: Result) -> dict[str, bytes]:
    """What each shows -> PNG."""
    found: dict[str, bytes] = {}
    rows = [row for row in result.rows if row.rank is not None]
    if rows:
        found[f"{result.metric} of each row"] = _png(_ranking(result.metric, rows[:MOST_RANKED]))
    split, _, name = result.metric.rpartition("/")
    curves = {id(run): run.curves() for row in result.rows for run in row.idea.runs}
    for metric in dict.fromkeys(
        [f"val/{name}" if split in ("test", "val") else result.metric, "val/loss", "train/loss"]
    ):
        if any(metric in known for known in curves.values()):
            found[f"{metric} against the epoch"] = _png(_curves(metric, result.rows, curves))
    return found


def setting_charts(result: Result) -> dict[str, bytes]:
    """A setting against the metric, within the first ranking: what each shows -> PNG; a point a run."""
    found = {}
    rows = [row for row in result.rows if row.block == 0]
    for key in [key for key in result.differing if len({text(setting(row.idea.first, key)) for row in rows}) > 1][
        :MOST_SETTINGS
    ]:
        found[f"{result.metric} against {key}"] = _png(_setting(key, result.metric, rows))
    return found


def colour(index: int) -> str:
    """That of a row in every chart; one for all beyond the first ten."""
    return COLOURS[index] if index < len(COLOURS) else OTHERS


def _ranking(metric: str, rows: Sequence[Row]) -> "Figure":
    """Mean, 95 % interval and single seeds of each row, best on top."""
    figure, axes = new_figure(width=5.2, height=min(0.34 * len(rows) + 1.0, 12.0))
    for index, row in enumerate(rows):
        values = list(row.idea.by_seed(metric).values())
        axes.plot(values, [index] * len(values), ".", color=colour(index), alpha=0.45, markersize=6)
        assert row.spread is not None
        if row.spread.interval:
            axes.plot(row.spread.interval, [index, index], color=colour(index), linewidth=2)
        axes.plot([row.spread.mean], [index], "D", color=colour(index), markersize=5)
    axes.set_yticks(range(len(rows)), [f"{row.rank}  {_short(row)}" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set(title=metric)
    return figure


def _curves(metric: str, rows: Sequence[Row], curves: dict[int, dict[str, list[tuple[int, float]]]]) -> "Figure":
    """A line a run; seeds of a row share its colour."""
    figure, axes = new_figure(width=5.2, height=3.4)
    for index, row in reversed(list(enumerate(rows))):  # the first rows are drawn last, over the others
        label = _short(row) if index < len(COLOURS) else None
        for run in row.idea.runs:
            if points := curves[id(run)].get(metric):
                epochs, values = zip(*points, strict=True)
                marker = "." if len(points) < 3 else None
                axes.plot(epochs, values, color=colour(index), linewidth=1.2, label=label, marker=marker)
                label = None
    axes.set(xlabel="epoch", title=metric)
    axes.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=7)
    return figure


def _setting(key: str, metric: str, rows: Sequence[Row]) -> "Figure":
    """Numbers on an axis, logarithmic where they span more than a factor of 20, and joined; else a place a value.

    Of runs that differ in `data.fraction` or `data.per_class` this is the learning curve.
    """
    figure, axes = new_figure(width=4.4, height=3.0)
    values = [setting(row.idea.first, key) for row in rows]
    numbers = [
        number(value) if isinstance(value, int | float) and not isinstance(value, bool) else None for value in values
    ]
    if all(one is not None for one in numbers):
        places: list[Any] = numbers
        if min(places) > 0 and max(places) / min(places) > 20:
            axes.set_xscale("log")
        means = [(place, row.spread.mean) for place, row in zip(places, rows, strict=True) if row.spread]
        axes.plot(*zip(*sorted(means), strict=True), color=OTHERS, linewidth=1, zorder=1)
    else:
        ordered = sorted(zip(numbers, values, strict=True), key=lambda one: (one[0] is None, one[0] or 0, text(one[1])))
        names = list(dict.fromkeys(text(value) for _, value in ordered))
        places = [names.index(text(value)) for value in values]
        shown = [_plain(name if len(name) < 16 else f"{name[:14]}…") for name in names]
        axes.set_xticks(range(len(names)), shown, fontsize=8, rotation=0 if sum(map(len, shown)) < 45 else 30)
        axes.set_xlim(-0.6, len(names) - 0.4)
    for index, (place, row) in enumerate(zip(places, rows, strict=True)):
        found = list(row.idea.by_seed(metric).values())
        axes.plot([place] * len(found), found, "o", color=colour(index), alpha=0.75, markersize=5)
    axes.set(xlabel=_plain(key), ylabel=metric)
    return figure


def _short(row: Row, most: int = 34) -> str:
    label = row.idea.label
    return _plain(label if len(label) <= most else f"…{label[1 - most :]}")


def _plain(words: str) -> str:
    """A dollar is a dollar: between two of them matplotlib reads a formula."""
    return words.replace("$", r"\$")


def _png(figure: "Figure") -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=144, facecolor="white")
    return png.getvalue()
