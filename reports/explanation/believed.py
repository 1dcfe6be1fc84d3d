"""Which map to believe: deletion and insertion curves of each method, and of a random map."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.analysis.faithfulness import area, pixel_curves
from reports import page
from reports.explanation.maps import METHODS
from reports.explanation.subject import Subject
from reports.figures import record_figure
from settings.commands.explain import Explanation
from settings.errors import UserError
from settings.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("method", "curve", "images", "area", "area_minus_random", "share_of_images_better_than_random")


def faithfulness(subject: Subject, job: Explanation, record: RunFolder) -> page.Section | None:
    """The areas of every method that the net allows, over the images of the page."""
    count = len(subject.images)
    draws = torch.Generator().manual_seed(0)
    every: dict[str, Tensor] = {}
    for name, method in METHODS.items():
        try:
            every[name] = method.maps(subject, job)
        except UserError:
            continue
    every["random"] = torch.rand(subject.images[:, 0].shape, generator=draws)
    device = subject.images.device
    curves = {
        name: pixel_curves(subject.net, subject.images, subject.wanted, maps.to(device)) for name, maps in every.items()
    }
    rows: list[Sequence[Any]] = []
    for place, kind in enumerate(("deletion", "insertion")):
        chance = area(curves["random"][place])
        for name, both in curves.items():
            gain = area(both[place]) - chance
            better = ((gain < 0) if kind == "deletion" else (gain > 0)).float().mean()
            numbers = (area(both[place]).mean(), gain.mean(), better)
            rows.append((name, kind, count, *(f"{float(value):.4g}" for value in numbers)))
    record.write_table("faithfulness.csv", COLUMNS, rows)
    file = record_figure(record, "faithfulness", curve_figure(curves))
    return page.section(
        "Which map to believe",
        page.pictures({"deletion and insertion curves": file}, kind="sheet"),
        page.table([one.replace("_", " ") for one in COLUMNS], rows),
        note=f"Over {count} images (each= takes more): the mean score while a map's strongest pixels are deleted, or "
        "inserted into an empty image. A map that knows more than chance has a smaller area than the random one in "
        "deletion, a greater one in insertion. An image with holes is new to the net: differences matter, not values.",
    )


def curve_figure(curves: dict[str, tuple[Tensor, Tensor]]) -> "Figure":
    """Mean curves side by side, a line a method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained", facecolor="white")
    for place, (axes, kind) in enumerate(zip(figure.subplots(1, 2), ("deletion", "insertion"), strict=True)):
        for name, both in curves.items():
            mean = both[place].mean(dim=0)
            style = {"color": "#888888", "linestyle": "--"} if name == "random" else {}
            axes.plot(torch.linspace(0, 1, len(mean)), mean, label=name, **style)
        axes.set(xlabel="share of the pixels", ylabel="score", title=kind)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure
