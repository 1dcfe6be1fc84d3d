"""A comparison as one page: table, charts, tests; no script, nothing fetched, so that it can be sent to someone."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from reports.comparison.charts import charts, setting_charts
from reports.comparison.result import Result
from reports.comparison.table import figure, pair_lines, shown
from reports.page import cards, page, pictures, section, table


def write(result: Result, path: Path) -> None:
    """Write the page."""
    path.write_text(to_html(result), encoding="utf-8")


def to_html(result: Result) -> str:
    """The whole page."""
    header, rows = shown(result)
    runs = [run for row in result.rows for run in row.idea.runs]
    ranked = [row for row in result.rows if row.rank is not None]
    figures = [
        ("runs", str(len(runs)), f"{len(result.rows)} rows"),
        ("settings that differ", str(len(result.differing)), ""),
    ]
    if ranked and ranked[0].spread and result.blocks == 1:
        figures.insert(0, (f"first by {result.metric}", figure(ranked[0].spread.mean), ranked[0].idea.label))
    places = [(run.label, run.status, run.reason, str(run.folder)) for run in runs]
    return page(
        title=f"{len(runs)} runs by {result.metric}",
        status="compared",
        lead="A row is an idea: runs that differ in nothing but the seed. Intervals hold 95 %.",
        sections=[
            cards(figures),
            section("To be careful with", _list(result.notes)) if result.notes else "",
            section("Ranking", table(header, map(_row, rows))),
            section("Pairs", _pre(pair_lines(result))) if result.pairs else "",
            section(
                "Curves",
                pictures(charts(result)),
                note="Seeds of a row share its colour; the first ten rows are named.",
            ),
            section(
                "Settings against the metric",
                pictures(setting_charts(result)),
                note="A point is a run of the first ranking.",
            ),
            section("Folders", table(("run", "status", "reason", "folder"), map(_row, places))),
        ],
    )


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _pre(lines: Iterable[str]) -> str:
    return f'<pre class="command">{escape(chr(10).join(lines))}</pre>'
