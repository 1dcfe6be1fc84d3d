"""A comparison as one page: table, charts, tests; no script, nothing fetched, so that it can be sent to someone."""

from pathlib import Path

from reports import links
from reports.comparison.charts import charts, setting_charts
from reports.comparison.result import Result
from reports.comparison.table import figure, pair_lines, shown
from reports.page import bullets, command, page, pictures, section, table


def write(result: Result, path: Path) -> None:
    """Write the page."""
    path.write_text(to_html(result, path.parent), encoding="utf-8")


def to_html(result: Result, folder: Path) -> str:
    """The whole page; its links are relative to the folder that it lies in."""
    header, rows = shown(result)
    runs = [run for row in result.rows for run in row.idea.runs]
    ranked = [row for row in result.rows if row.rank is not None]
    figures = [
        ("runs", str(len(runs)), f"{len(result.rows)} rows"),
        ("settings that differ", str(len(result.differing)), "within a ranking"),
    ]
    if ranked and ranked[0].spread and result.blocks == 1:
        figures.insert(0, (f"first by {result.metric}", figure(ranked[0].spread.mean), ranked[0].name))
    places = [
        (run.label, run.status, run.reason, links.of_run(folder, run.folder), links.to_file(folder, run.folder, "open"))
        for run in runs
    ]
    return page(
        title=f"{len(runs)} runs by {result.metric}",
        status="compared",
        lead="A row is an idea: runs that differ in nothing but the seed, called by what it differs in. "
        "Intervals hold 95 %.",
        figures=figures,
        sections=[
            section("To be careful with", bullets(result.notes)),
            section("Ranking", table(header, rows, folds=True)),
            section("Pairs", command("\n".join(pair_lines(result))) if result.pairs else None),
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
            section("Runs", table(("run", "status", "reason", "pages", "folder"), places, folds=True)),
        ],
    )
