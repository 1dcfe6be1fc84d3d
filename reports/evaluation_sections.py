"""The parts of an evaluation's page: what was scored, cards, tables, and the images behind them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from models.analysis.class_scores import HardImage
from models.analysis.metrics import MEANING, PerImage, method, reliability
from reports import charts, evaluation_charts, page
from reports.figures import record_figure
from settings.run_folder import RunFolder

SHOWN = 24
"""Images of a section of the page."""
CONFUSIONS, EXAMPLES = 10, 8
"""Confusions whose images are shown, and how many of each."""


def lead(document: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """One line about what was scored."""
    parts = [f"{document['images']} images", f"{facts['data']['name']}", time.strftime("%Y-%m-%d %H:%M")]
    if facts["classes_without_images"]:
        parts.insert(1, f"no image of {', '.join(facts['classes_without_images'][:6])}")
    if facts["left_out_images"]:
        parts.insert(1, f"{facts['left_out_images']} images of unknown classes left out")
    if document["trained_on_images"]:
        parts.insert(1, f"{document['trained_on_images']} of them were trained on: no measure of new images")
    return " · ".join(parts)


def headline(values: Mapping[str, float], intervals: Mapping[str, Sequence[float]], count: int) -> list[Any]:
    """Name, value and interval of the cards."""
    titles = {
        "accuracy": "accuracy",
        "accuracy_macro": "macro accuracy",
        "f1_macro": "macro F1",
        "top5_accuracy": "top-5 accuracy",
        "loss": "loss (NLL)",
        "brier": "Brier score",
        "ece": "calibration error",
    }
    return [
        (title, f"{values[name]:.4f}", interval_text(name, intervals) or f"{count} images")
        for name, title in titles.items()
        if name in values
    ]


def interval_text(name: str, intervals: Mapping[str, Sequence[float]]) -> str:
    """The interval of a score and whose it is, in words; empty where there is none."""
    if name not in intervals:
        return ""
    low, high = intervals[name]
    return f"95 % {low:.4f} to {high:.4f} ({method(name)})"


def metrics_rows(
    values: Mapping[str, float], intervals: Mapping[str, Sequence[float]]
) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Columns and rows of the table of all metrics, with what each means."""
    rows = [(name, f"{value:.4f}", interval_text(name, intervals), MEANING[name]) for name, value in values.items()]
    return ("metric", "value", "interval", "meaning"), [list(row) for row in rows]


GAIN_COLUMNS = ("scored", "views", "accuracy", "loss", "gain", "95 % of the gain", "ms an image", "cost")


def gain_rows(gains: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each member and kind of views, below `GAIN_COLUMNS`."""

    def shown(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return [
        (
            row["scored"],
            row["views"],
            f"{row['accuracy']:.4f}",
            f"{row['loss']:.4f}",
            shown(row["gain"], "+.4f"),
            "" if row["gain_low"] is None else f"{row['gain_low']:+.4f} to {row['gain_high']:+.4f}",
            f"{row['seconds_per_image'] * 1000:.3f}",
            "" if row["cost"] is None else f"{row['cost']:.1f} x",
        )
        for row in gains
    ]


def gain_section(gains: Sequence[Mapping[str, Any]]) -> page.Section | None:
    """The table of views and members, where there is more than one row."""
    return page.section(
        "Gain and cost",
        page.table(GAIN_COLUMNS, gain_rows(gains)) if len(gains) > 1 else None,
        note="Gain of other views: against the centre of the same net; of an ensemble: against its best member. "
        "The interval draws the same images for both. Time is that of the nets, without reading files.",
    )


def class_section(record: RunFolder, counts: Tensor, class_names: Sequence[str], per_class: Any) -> page.Section | None:
    """Confusion matrix and scores class by class."""
    matrix = record_figure(record, "confusion_matrix", charts.confusion_matrix(counts, class_names))
    return page.section(
        "Class by class",
        page.pictures({"confusion matrix": matrix}),
        page.class_table(per_class),
        page.confusions_table(counts, class_names),
        side_by_side=True,
        note="Confusion matrix: a row holds the images of a true class, its shade is the share of the row.",
    )


def confusion_section(
    record: RunFolder,
    each: PerImage,
    probs: Tensor,
    counts: Tensor,
    images: Any,
    class_names: Sequence[str],
    pictures: Callable[[Sequence[int]], Tensor],
) -> page.Section | None:
    """The images behind the cells of the confusion matrix that hold the most mistakes, the surest first."""
    mistakes = counts.clone().fill_diagonal_(0)
    cells = mistakes.flatten().argsort(descending=True, stable=True)[:CONFUSIONS].tolist()
    parts, rows = [], []
    for cell in cells:
        true, guess = divmod(cell, len(class_names))
        if not mistakes[true, guess]:
            break
        behind = ((each.targets == true) & (each.predicted == guess)).nonzero()[:, 0]
        surest = behind[each.confidence[behind].argsort(descending=True, stable=True)][:EXAMPLES].tolist()
        title = f"{class_names[true]} taken for {class_names[guess]}: {len(behind)}"
        shown = _tiles(surest, each, probs, class_names, pictures)
        rows.append((title, torch.stack([one.image for one in shown])))
        parts.append(page.tiles(shown, images.paths, title=title))
    if rows:
        record_figure(record, "confusions", evaluation_charts.rows_of_images(rows))
    return page.section(
        "Images behind the most frequent confusions",
        *parts,
        note="Each cell of the matrix is a filter of predictions.csv: its columns target and prediction.",
    )


def calibration_section(record: RunFolder, each: PerImage) -> page.Section | None:
    """Reliability diagram."""
    file = record_figure(record, "reliability", evaluation_charts.reliability_diagram(reliability(each)))
    return page.section(
        "Calibration",
        page.pictures({"reliability diagram": file}),
        note="Of the images about which the net is 80 % sure, are 80 % right? Bars below the line: too sure of itself.",
    )


def image_sections(
    each: PerImage,
    probs: Tensor,
    images: Any,
    class_names: Sequence[str],
    pictures: Callable[[Sequence[int]], Tensor],
) -> list[page.Section | None]:
    """Hardest images, surest mistakes, easiest images."""
    order = each.loss.argsort(descending=True, stable=True).tolist()
    hardest = sorted(order[:SHOWN], key=lambda index: bool(each.correct[index]))
    wrong = (~each.correct).nonzero()[:, 0]
    surest = wrong[each.confidence[wrong].argsort(descending=True, stable=True)].tolist()
    titled = {
        "Hardest images": (
            hardest,
            "The highest losses, mistakes first; more rows in hardest.csv.",
        ),
        "Most confident mistakes": (surest[:SHOWN], "By the probability of the wrong class."),
        "Easiest images": (order[::-1][:SHOWN], "Lowest loss first; more rows in easiest.csv."),
    }
    return [
        page.section(title, page.tiles(_tiles(chosen, each, probs, class_names, pictures), images.paths), note=note)
        for title, (chosen, note) in titled.items()
        if chosen
    ]


def _tiles(
    indices: Sequence[int],
    each: PerImage,
    probs: Tensor,
    class_names: Sequence[str],
    pictures: Callable[[Sequence[int]], Tensor],
) -> list[HardImage]:
    if not indices:
        return []
    return [
        HardImage(
            index=index,
            image=picture.cpu(),
            true=f"{class_names[int(each.targets[index])]} {probs[index, each.targets[index]].item():.0%}",
            predicted=f"{class_names[int(each.predicted[index])]} {each.confidence[index].item():.0%}",
            loss=each.loss[index].item(),
            is_right=bool(each.correct[index]),
        )
        for index, picture in zip(indices, pictures(indices), strict=True)
    ]
