"""What the net has learnt: the kernels of its first layer, and the feature maps of an image, stage by stage."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.analysis.stage_maps import stage_maps
from models.inputs import first_layer
from reports import charts, page
from reports.explanation.subject import Subject
from reports.figures import record_figure
from settings.commands.explain import Explanation
from settings.errors import UserError
from settings.run_folder import RunFolder

MOST_KERNELS = 64
MOST_CHANNELS = 8
"""Of a stage, those that vary most over the image."""
SIDE = 48
"""Pixels of a kernel or a map on the sheet."""
KERNEL_COLUMNS = ("layer", "kernel", "norm", "minimum", "maximum")
MAP_COLUMNS = ("image", "stage", "channel", "minimum", "maximum", "mean", "share_of_zeros")


def kernels(subject: Subject, job: Explanation, record: RunFolder) -> page.Section | None:
    """The first layer's kernels as pictures, on one scale: mid-grey is zero.

    Raises:
        UserError: the net begins with another layer than a convolution.
    """
    name, first = first_layer(subject.net)
    if not isinstance(first, nn.Conv2d):
        raise UserError(f"kernels: {subject.name} does not begin with a convolution")
    weight = first.weight.detach().float().cpu()
    rows = [
        (name, index, *(f"{value:.6g}" for value in (one.norm(), one.min(), one.max())))
        for index, one in enumerate(weight)
    ]
    record.write_table("kernels.csv", KERNEL_COLUMNS, rows)
    shown = weight[:MOST_KERNELS] if weight.shape[1] in (1, 3) else weight[:MOST_KERNELS].mean(dim=1, keepdim=True)
    pixels = (127.5 + 127.5 * shown / shown.abs().max().clamp_min(1e-12)).round().to(torch.uint8)
    captions = [str(index) for index in range(len(pixels))]
    sheet = charts.image_sheet(_enlarged(pixels), captions, columns=8)
    more = f" The first {MOST_KERNELS}." if len(weight) > MOST_KERNELS else ""
    return page.section(
        "Kernels of the first layer",
        page.pictures({"kernels of the first layer": record_figure(record, "kernels", sheet)}, kind="sheet"),
        note=f"{len(weight)} kernels of {tuple(weight.shape[1:])} of {name}; mid-grey is zero, one scale for all.{more}"
        " Noise in them tells of too short a training, or of too many; stripes and spots are edges and colours.",
    )


def feature_maps(subject: Subject, job: Explanation, record: RunFolder) -> page.Section | None:
    """The maps of the first image at the end of each stage: the channels that vary most, one scale a stage.

    Raises:
        UserError: no stage has places.
    """
    found = stage_maps(subject.net, subject.images[:1])
    if not found:
        raise UserError(f"feature_maps: {subject.name} has no feature map with places")
    rows: list[Sequence[Any]] = []
    parts: list[Tensor] = []
    captions: list[str] = []
    for stage, maps in found.items():
        one = maps[0].float().cpu()
        for channel, plane in enumerate(one):
            numbers = (plane.min(), plane.max(), plane.mean(), (plane == 0).float().mean())
            rows.append((subject.keys[0], stage, channel, *(f"{value:.6g}" for value in numbers)))
        order = one.flatten(1).std(dim=1).argsort(descending=True, stable=True)[:MOST_CHANNELS]
        low, high = one[order].min(), one[order].max()
        drawn = ((one[order] - low) / (high - low).clamp_min(1e-12) * 255).round().to(torch.uint8)[:, None]
        drawn = _enlarged(drawn)
        empty = torch.full((MOST_CHANNELS - len(drawn), *drawn.shape[1:]), 255, dtype=torch.uint8)
        parts.append(torch.cat((drawn, empty)))
        captions += [f"{stage}\n{channel}" for channel in order.tolist()] + [""] * len(empty)
    record.write_table("feature_maps.csv", MAP_COLUMNS, rows)
    sheet = charts.image_sheet(torch.cat(parts), captions, columns=MOST_CHANNELS)
    return page.section(
        "Feature maps",
        page.pictures({"feature maps, stage by stage": record_figure(record, "feature_maps", sheet)}, kind="sheet"),
        note=f"Of {subject.keys[0]}, at the end of each stage: the {MOST_CHANNELS} channels that vary most, with their "
        "numbers; one scale a stage, dark to light. A channel that varies need not matter for the class.",
    )


def _enlarged(pixels: Tensor) -> Tensor:
    return F.interpolate(pixels, (SIDE, SIDE), mode="nearest")
