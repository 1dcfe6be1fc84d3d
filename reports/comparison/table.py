"""A comparison as text: for the terminal, CSV, Markdown, LaTeX."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reports.comparison.ideas import ABSENT
from reports.comparison.result import Pair, Result, Row
from reports.comparison.significance import RESAMPLES, PairedImages
from reports.setting_values import text
from settings.whole_file import TableWriter

TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "–": "--", "±": r"$\pm$",
}  # fmt: skip
"""Characters that mean something to LaTeX."""


def shown(result: Result) -> tuple[list[str], list[list[str]]]:
    """Header and rows for readers: figures rounded, columns without content left out."""
    header = ["rank", "row"]
    spreads = any(row.spread and row.spread.n > 1 for row in result.rows)
    header += [result.metric, *(["95 % t-interval", "lowest to highest"] if spreads else [])]
    header += ["seed" if not spreads else "seeds", *_status_column(result), *result.columns, "run"]
    rows = []
    for row in result.rows:
        values = row.spread
        letter = chr(ord("A") + row.block) if row.block is not None and 1 < result.blocks <= 26 else ""
        cells = [f"{letter}{row.rank}" if row.rank else ABSENT, row.name]
        cells.append(figure(values.mean) if values else ABSENT)
        if spreads:
            interval = values.interval if values else None
            cells.append(f"{figure(interval[0])} to {figure(interval[1])}" if interval else ABSENT)
            several = values is not None and values.n > 1
            cells.append(f"{figure(values.lowest)} to {figure(values.highest)}" if values and several else ABSENT)
        cells.append(f"{len(row.idea.runs)}: {row.idea.seeds}" if spreads else row.idea.seeds)
        cells += [row.idea.first.status] if _status_column(result) else []
        cells += [*(text(row.cells[key]) for key in result.columns), row.idea.label]
        rows.append(cells)
    return header, rows


def figure(value: float) -> str:
    """Four decimals; five digits of what is large or small."""
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.5g}"


def pair_lines(result: Result) -> list[str]:
    """What the tests say, a few lines a pair."""
    return [line for pair in result.pairs for line in _pair_lines(pair, result.metric)]


def write(result: Result, path: Path) -> None:
    """Write CSV, Markdown or LaTeX, as the file's ending says."""
    form: dict[str, Callable[[Result], str]] = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex}
    path.write_text(form[path.suffix.lower()](result), encoding="utf-8")


def to_csv(result: Result) -> str:
    """All digits, one number a cell."""
    file = io.StringIO(newline="")
    writer = TableWriter(file)
    names = ("mean", "low", "high", "lowest", "highest")
    writer.writerow(
        ["rank", "ranking", "run", "status", "seeds", "n"]
        + [f"{result.metric} {name}" for name in names]
        + [*result.columns, "folders", "reason"]
    )
    for row in result.rows:
        values = row.spread
        found: list[Any] = [None] * 5
        if values:
            found = [values.mean, *(values.interval or (None, None)), values.lowest, values.highest]
        runs = row.idea.runs
        writer.writerow(
            [row.rank, None if row.block is None else row.block + 1, row.idea.label, row.idea.first.status]
            + [row.idea.seeds, values.n if values else 0, *found]
            + [row.cells[key] if isinstance(row.cells[key], float) else text(row.cells[key]) for key in result.columns]
            + [" ".join(str(run.folder) for run in runs), row.idea.first.reason]
        )
    return file.getvalue()


def to_markdown(result: Result) -> str:
    """A table and two lists."""
    header, rows = shown(result)
    lines = ["| " + " | ".join(map(_markdown, header)) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(map(_markdown, row)) + " |" for row in rows]
    for said in (pair_lines(result), result.notes):
        lines += ["", *(f"- {_markdown(line.strip())}" for line in said)] if said else []
    return "\n".join(lines) + "\n"


def to_latex(result: Result) -> str:
    """A tabular of the package booktabs, to be put in a table; tests and notes stand as comments."""
    header, rows = shown(result)
    comments = [f"% {' '.join(line.split())}" for line in [*pair_lines(result), *result.notes]]
    kinds = ["l" if any(re.search("[A-Za-z]", row[column]) for row in rows) else "r" for column in range(len(header))]
    body = [" & ".join(map(latex, row)) + r" \\" for row in rows]
    return "\n".join(
        [
            "% \\usepackage{booktabs}",
            *comments,
            f"\\begin{{tabular}}{{{''.join(kinds)}}}",
            "\\toprule",
            " & ".join(map(latex, header)) + r" \\",
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def latex(cell: str) -> str:
    """A text in which nothing is a command."""
    return "".join(TEX.get(sign, sign) for sign in " ".join(cell.split()))


def print_terminal(result: Result) -> None:
    """The table, the tests, the notes; where columns are too many for the window, settings share one."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    header, rows = shown(result)
    table = _terminal_table(header, rows, result)
    needed = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    if not console.is_terminal:  # in a file or a pipe nothing has to fit a window
        console = Console(highlight=False, width=max(needed, 80))
    elif needed > console.width and result.differing:
        kept = [index for index, name in enumerate(header) if name not in result.differing]
        header = [*(header[index] for index in kept), "settings"]
        rows = [
            [*(cells[index] for index in kept), _settings(row)] for row, cells in zip(result.rows, rows, strict=True)
        ]
        table = _terminal_table(header, rows, result)
    console.print(table)
    for said in (pair_lines(result), result.notes):
        if said:
            console.print()
        for line in said:
            console.print(Text(line), soft_wrap=True)


def _terminal_table(header: Sequence[str], rows: Sequence[Sequence[str]], result: Result) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in header:
        table.add_column(Text(name), overflow="fold")
    blocks = [row.block for row in result.rows]
    for index, cells in enumerate(rows):
        last = index + 1 < len(rows) and blocks[index] != blocks[index + 1]
        table.add_row(*map(Text, cells), end_section=last, style="" if result.rows[index].rank else "dim")
    return table


def _settings(row: Row) -> str:
    return " ".join(f"{key}={text(value)}" for key, value in row.cells.items() if value not in (ABSENT, None))


def _status_column(result: Result) -> list[str]:
    return ["status"] if any(not row.idea.finished for row in result.rows) else []


def _markdown(cell: str) -> str:
    return re.sub(r"([\\|*_`\[\]#~])", r"\\\1", " ".join(cell.split())).replace("<", "&lt;")


def _pair_lines(pair: Pair, metric: str) -> list[str]:
    lines = [f"{pair.first.label} against {pair.second.label}:"]
    if seeds := pair.seeds:
        low, high = seeds.interval
        p = "" if seeds.p is None else f", p = {seeds.p:.2g}"
        lines.append(
            f"  {metric}, paired over {seeds.n} seeds: difference {signed(seeds.difference)}, "
            f"95 % interval {signed(low)} to {signed(high)} (paired t{p})"
        )
        sign = "" if seeds.sign_p is None else f"; exact sign test p = {seeds.sign_p:.2g}"
        higher, lower = seeds.first_higher, seeds.second_higher
        lines.append(
            f"  higher in {higher} of {seeds.n} seeds, lower in {lower}, equal in {seeds.n - higher - lower}{sign}"
        )
    for name, found in pair.images.items():
        lines += _image_lines(name, found)
    return lines


def _image_lines(name: str, found: PairedImages) -> list[str]:
    low, high = found.interval
    return [
        f"  {name}, the same {found.images} images: accuracy {found.first:.4f} against {found.second:.4f}, difference "
        f"{signed(found.first - found.second)}, 95 % interval {signed(low)} to {signed(high)} "
        f"(paired bootstrap, {RESAMPLES} resamples)",
        f"  right in the first alone {found.only_first}, in the second alone {found.only_second}: "
        f"McNemar's exact test p = {found.p:.2g}",
    ]


def signed(value: float) -> str:
    """A difference."""
    return f"{value:+.4f}" if abs(value) < 1000 else f"{value:+.5g}"
