"""The pictures of a comparison: ranking, curves over each other, settings against the metric; matplotlib."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reports.axes import WIDTH, finished, new_figure
from reports.comparison.ideas import setting
from reports.comparison.result import Result, Row
from reports.comparison.runs import number
from reports.setting_values import text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#1f6feb", "#c2255c", "#2b8a3e", "#b8590f", "#6741d9", "#0c8599", "#8a6d3b", "#495057", "#d6336c", "#5c940d")
OTHERS = "#adb5bd"
MOST_RANKED = 30
MOST_SETTINGS = 12


def charts(result: Result) -> dict[str, bytes]:
    """What each shows -> PNG; each data set and each ranking has axes of its own."""
    found: dict[str, bytes] = {}
    several = result.blocks > 1
    for block in range(result.blocks):
        rows = [row for row in result.rows if row.block == block]
        about = f", {_data(rows[0])} ({chr(ord('A') + block)})" if several and block < 26 else ""
        found[f"{result.metric} of each row{about}"] = _png(_ranking(result.metric + about, rows[:MOST_RANKED], result))
    split, _, name = result.metric.rpartition("/")
    curves = {id(run): run.curves() for row in result.rows for run in row.idea.runs}
    metrics = [f"val/{name}" if split in ("test", "val") else result.metric, "val/loss", "train/loss"]
    for metric in dict.fromkeys(metrics):
        for data in dict.fromkeys(map(_data, result.rows)):
            rows = [row for row in result.rows if _data(row) == data]
            if any(metric in curves[id(run)] for row in rows for run in row.idea.runs):
                about = f", {data}" if len(rows) < len(result.rows) else ""
                found[f"{metric} against the epoch{about}"] = _png(_curves(metric, metric + about, rows, curves))
    return found


def _data(row: Row) -> str:
    return str(row.idea.first.config.get("data.name"))


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


def _ranking(title: str, rows: Sequence[Row], result: Result) -> "Figure":
    """Mean, 95 % interval and single seeds of each row, best on top."""
    figure, axes = new_figure(width=WIDTH, height=min(0.34 * len(rows) + 1.0, 12.0), title=title)
    for index, row in enumerate(rows):
        values = list(row.idea.by_seed(result.metric).values())
        axes.plot(values, [index] * len(values), ".", color=colour(index), alpha=0.45, markersize=6)
        assert row.spread is not None
        if row.spread.interval:
            axes.plot(row.spread.interval, [index, index], color=colour(index), linewidth=2)
        axes.plot([row.spread.mean], [index], "D", color=colour(index), markersize=5)
    axes.set_yticks(range(len(rows)), [f"{row.rank}  {_short(row)}" for row in rows])
    axes.invert_yaxis()
    return finished(figure)


def _curves(
    metric: str, title: str, rows: Sequence[Row], curves: dict[int, dict[str, list[tuple[int, float]]]]
) -> "Figure":
    """A line a run; seeds of a row share its colour."""
    figure, axes = new_figure(width=WIDTH, height=3.1 + 0.19 * min(len(rows), len(COLOURS)), title=title)
    for index, row in enumerate(rows):
        label = _short(row) if index < len(COLOURS) else None
        for run in row.idea.runs:
            if points := curves[id(run)].get(metric):
                epochs, values = zip(*points, strict=True)
                marker = "." if len(points) < 3 else None
                style = {"linewidth": 1.2, "marker": marker, "zorder": 3 + len(rows) - index}  # the first rows on top
                axes.plot(epochs, values, color=colour(index), label=label, **style)
                label = None
    axes.set(xlabel="epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    return finished(figure)


def _setting(key: str, metric: str, rows: Sequence[Row]) -> "Figure":
    """Numbers on an axis, logarithmic where they span more than a factor of 20, and joined; else a place a value.

    Of runs that differ in `data.fraction` or `data.per_class` this is the learning curve.
    """
    figure, axes = new_figure(width=WIDTH, height=3.1)
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
        axes.set_xticks(range(len(names)), shown, rotation=0 if sum(map(len, shown)) < 45 else 30)
        axes.set_xlim(-0.6, len(names) - 0.4)
    for index, (place, row) in enumerate(zip(places, rows, strict=True)):
        found = list(row.idea.by_seed(metric).values())
        axes.plot([place] * len(found), found, "o", color=colour(index), alpha=0.75, markersize=5)
    axes.set(xlabel=_plain(key), ylabel=metric)
    return finished(figure)


def _short(row: Row, most: int = 30) -> str:
    return _plain(row.name if len(row.name) <= most else f"{row.name[: most - 1]}…")


def _plain(words: str) -> str:
    """A dollar is a dollar: between two of them matplotlib reads a formula."""
    return words.replace("$", r"\$")


def _png(figure: "Figure") -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=144, facecolor="white")
    return png.getvalue()
