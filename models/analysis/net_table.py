"""Nets side by side, and one net layer by layer, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.analysis import counting
from models.build import build_net

NETS_HEADER = ("net", "image", "parameters", "macs", "megabytes", "latency_ms", "test_accuracy")
LAYERS_HEADER = ("layer", "kind", "output", "weights", "macs", "counted")


def net_row(name: str, built_for: Mapping[str, Any], *, repeats: int, accuracy: str) -> tuple[Any, ...]:
    """A row of `NETS_HEADER`; the net is built with values only to take its time, on the CPU.

    Args:
        name: of an own, a torchvision or a timm net.
        built_for: `num_classes`, `in_channels`, `image_size`.
        repeats: timed passes of one image; 0 takes no time.
        accuracy: what runs reached.
    """
    net, image = without_values(name=name, **built_for)
    time = ""
    if repeats:
        seconds = counting.latency(build_net(name=name, **built_for), torch.zeros(image.shape), repeats)
        time = f"{1000 * seconds:.1f}"
    return (
        name,
        sides(image.shape[1:]),
        counting.parameters(net),
        counting.macs(net, image),
        f"{counting.megabytes(net):.1f}",
        time,
        accuracy,
    )


def without_values(**built_for: Any) -> tuple[nn.Module, Tensor]:
    """A net and one image for it on torch's device "meta": shapes alone, which cost no time."""
    with torch.device("meta"):
        net = build_net(**built_for)
    side = built_for["image_size"]
    return net, torch.empty(1, built_for["in_channels"], side, side, device="meta")


def layer_rows(found: Sequence[counting.Layer]) -> list[tuple[Any, ...]]:
    """Rows of `LAYERS_HEADER`."""
    return [(row.name, row.kind, sides(row.output), row.weights, row.macs, row.counted) for row in found]


def layers_said(name: str, net: nn.Module, image: Tensor, found: Sequence[counting.Layer]) -> list[str]:
    """The sums of the layers, and what torch's counter says of the whole net."""
    by_formula, counted = sum(row.macs for row in found), counting.macs(net, image)
    alone = sum(row.macs for row in found if row.counted)
    whole = f"{counting.parameters(net):,} weights, {by_formula:,} MACs"
    lines = [f"{name}, one image of {sides(image.shape[1:])}: {whole}"]
    if alone:
        lines.append(f"{alone:,} of them stand in no layer (attention in functions) and are the counter's")
    same = "the same" if counted == by_formula else "which differs: a layer has no formula here"
    return [*lines, f"torch.utils.flop_counter: {counted:,} MACs, {same}"]


def sides(shape: Sequence[int]) -> str:
    """(3, 224, 224) as 3x224x224."""
    return "x".join(map(str, shape))
