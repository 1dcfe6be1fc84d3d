"""Accuracy under corruptions, attacks, distortions and masks: tables, plots, and a section of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from models.analysis.metrics import wilson_interval
from reports import page
from reports.axes import finished
from reports.evaluation_charts import rows_of_images
from reports.figures import record_figure
from reports.terminal import print_table
from settings.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "corruptions": ("Corruptions", "severity", "Common corruptions at five severities."),
    "attacks": ("Attacks", "eps", "The attacker sees the net and may change each value of a pixel in [0, 1] by eps."),
    "curves": (
        "Angle, shift, scale, hue",
        "level",
        "Degrees anticlockwise, share of the width to the right, factor, turns of the colour circle; borders go on.",
    ),
    "shortcut": (
        "Shortcut test",
        "share of the area that is masked",
        "A net that is still right when the centre is covered reads the background; compare with the largest class.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One condition, and how many of the images were right under it."""

    table: str
    name: str
    level: float
    right: int
    images: int

    @property
    def accuracy(self) -> float:
        """Share of the images."""
        return self.right / self.images


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """All rows, the accuracy of the same images as they are, the share of their largest class, and examples.

    `examples` holds for each table titled rows of images uint8 (N, C, H, W).
    """

    rows: Sequence[Row]
    images: int
    clean: float
    largest_class: float
    examples: Mapping[str, Sequence[tuple[str, Tensor]]]


def write_robustness(record: RunFolder, found: Robustness) -> tuple[list[page.Section | None], dict[str, Any]]:
    """Write a CSV file and pictures for each table; return sections of the page and plain values for metrics.json."""
    sections: list[page.Section | None] = []
    plain: dict[str, Any] = {
        "images": found.images,
        "accuracy": found.clean,
        "largest_class": found.largest_class,
    }
    for table in dict.fromkeys(row.table for row in found.rows):
        rows = [row for row in found.rows if row.table == table]
        title, axis, note = TITLES[table]
        columns = ("name", "level", "accuracy", "low", "high", "images")
        lines = [
            (row.name, row.level, row.accuracy, *wilson_interval(row.accuracy, row.images), row.images) for row in rows
        ]
        record.write_table(f"{table}.csv", columns, lines)
        plain[table] = [dict(zip(columns, line, strict=True)) for line in lines]
        picture = record_figure(record, table, accuracy_curves(rows, found, axis))
        examples = found.examples.get(table, ())
        sheet = record_figure(record, f"{table}_images", rows_of_images(examples)) if examples else None
        sections.append(
            page.section(
                title,
                page.pictures({f"accuracy against {axis}": picture}, kind="sheet"),
                page.pictures({f"examples: {title}": sheet}, kind="sheet") if sheet else None,
                page.table(*level_rows(rows)),
                note=f"{note} {found.images} images, of which {found.clean:.4f} are right as they are.",
            )
        )
    return sections, plain


def say_robustness(found: Robustness) -> None:
    """The figures on the screen, a table for each kind."""
    for table in dict.fromkeys(row.table for row in found.rows):
        print(f"{table}: accuracy by {TITLES[table][1]}")
        print_table(*level_rows([row for row in found.rows if row.table == table]))


def level_rows(rows: Sequence[Row]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Columns and rows: a row a name, a column a level, where all have the same levels; else a row each."""
    names = list(dict.fromkeys(row.name for row in rows))
    levels = [[row.level for row in rows if row.name == name] for name in names]
    if all(one == levels[0] for one in levels):
        body: list[Sequence[str]] = [
            [name, *(f"{row.accuracy:.3f}" for row in rows if row.name == name)] for name in names
        ]
        means = [sum(row.accuracy for row in rows if row.level == level) / len(names) for level in levels[0]]
        body += [["mean", *(f"{value:.3f}" for value in means)]] if len(names) > 2 else []
        return ["", *(f"{level:.3g}" for level in levels[0])], body
    return ("", "level", "accuracy"), [(row.name, f"{row.level:.3g}", f"{row.accuracy:.3f}") for row in rows]


def accuracy_curves(rows: Sequence[Row], found: Robustness, axis: str) -> "Figure":
    """Accuracy against the level, a panel a name, with 95 % intervals; dashed: the images as they are."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row.name for row in rows))
    columns = min(5 if len(names) > 4 else 4, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(max(2.3 * columns, 4.6), 2.2 * lines + 0.3), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flatten()
    for panel, name in zip(panels, names, strict=False):
        own = [row for row in rows if row.name == name]
        levels, accuracies = [row.level for row in own], [row.accuracy for row in own]
        low, high = zip(*(wilson_interval(row.accuracy, row.images) for row in own), strict=True)
        panel.plot(levels, accuracies, marker="o", markersize=3.5, color="#1f6feb")
        panel.fill_between(levels, low, high, color="#1f6feb", alpha=0.18, linewidth=0)
        panel.axhline(found.clean, color="#8a6d3b", linestyle="--", linewidth=1)
        panel.axhline(found.largest_class, color="#c2255c", linestyle=":", linewidth=1)
        panel.set(title=name.replace("_", " "), ylim=(0, 1.02))
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    figure.supxlabel(f"{axis} (dashed: as they are, dotted: largest class)")
    figure.supylabel("accuracy")
    return finished(figure)
