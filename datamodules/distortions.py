"""What accuracy is measured against: corruptions; angle, shift, scale, hue; masks of the centre or the background."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from datamodules.corruptions import CORRUPTIONS, SEVERITIES, corrupt, shifted, transformed
from datamodules.randomness import generator

ANGLES = (-135.0, -90.0, -60.0, -45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0, 60.0, 90.0, 135.0, 180.0)
SHIFTS = (-0.4, -0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
SCALES = (0.5, 0.6, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
HUES = (-0.5, -0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
MASKED = (0.0, 0.25, 0.5, 0.75, 0.9)

Change = Callable[[torch.Tensor, Sequence[str], Sequence[float]], torch.Tensor]
"""(images uint8 (B, C, S, S), their keys, mean colour in [0, 1]) -> images uint8."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One row of a table: what is done to the images, and how much of it."""

    table: str
    name: str
    level: float
    change: Change


def conditions(*, corruptions: bool, curves: bool, shortcut: bool, colour: bool, seed: int) -> list[Condition]:
    """All rows that are asked for.

    Args:
        corruptions: ten corruptions at five severities.
        curves: angle (degrees, anticlockwise), shift (share of the width, to the right), scale and hue (turns).
        shortcut: squares in the middle, or all but them, in the mean colour.
        colour: whether the images have one; hue changes no grey image.
        seed: of the corruptions, together with the key of each image.
    """
    found: list[Condition] = []
    if corruptions:
        found += [
            Condition(table="corruptions", name=name, level=severity, change=partial(_corrupted, name, severity, seed))
            for name in CORRUPTIONS
            for severity in SEVERITIES
        ]
    if curves:
        found += _rows("curves", "angle", ANGLES, rotated)
        found += _rows("curves", "shift", SHIFTS, moved)
        found += _rows("curves", "scale", SCALES, zoomed)
        found += _rows("curves", "hue", HUES, hued) if colour else []
    if shortcut:
        for name, inside in (("centre masked", True), ("background masked", False)):
            found += [
                Condition(table="shortcut", name=name, level=share, change=partial(_masked, share, inside))
                for share in MASKED
            ]
    return found


def rotated(images: torch.Tensor, degrees: float) -> torch.Tensor:
    """Turn uint8 ``(B, C, S, S)`` images anticlockwise."""
    angle = math.radians(degrees)
    return _affine(images, [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]])


def moved(images: torch.Tensor, share: float) -> torch.Tensor:
    """Move uint8 images to the right by a share of their width."""
    return _to_uint8(shifted(images.float(), torch.tensor([[share, 0.0]], device=images.device).repeat(len(images), 1)))


def zoomed(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Enlarge uint8 images around their centre."""
    return _affine(images, [[1 / factor, 0.0, 0.0], [0.0, 1 / factor, 0.0]])


def hued(images: torch.Tensor, turns: float) -> torch.Tensor:
    """Turn the hue of uint8 RGB images, by -0.5 to 0.5 of the circle."""
    from torchvision.transforms.v2 import functional as v2

    return v2.adjust_hue(images, turns)


def masked(images: torch.Tensor, share: float, *, inside: bool, colour: Sequence[float]) -> torch.Tensor:
    """Cover a square in the middle, or all outside of it.

    Args:
        images: uint8 ``(B, C, H, W)``.
        share: of the area that is covered; its number of pixels a side is rounded.
        inside: cover the square; else what is around it.
        colour: of the cover, in [0, 1], a number a channel.
    """
    height, width = images.shape[-2:]
    kept = math.sqrt(share if inside else 1 - share)
    rows, columns = round(height * kept), round(width * kept)
    top, left = (height - rows) // 2, (width - columns) // 2
    cover = torch.zeros(height, width, dtype=torch.bool, device=images.device)
    cover[top : top + rows, left : left + columns] = True
    fill = (torch.tensor(list(colour)) * 255).round().to(torch.uint8).to(images.device)[:, None, None]
    return torch.where(cover if inside else ~cover, fill, images)


def _rows(
    table: str, name: str, levels: Sequence[float], change: Callable[[torch.Tensor, float], torch.Tensor]
) -> Iterator[Condition]:
    for level in levels:
        yield Condition(table=table, name=name, level=level, change=partial(_changed, change, level))


def _changed(
    change: Callable[[torch.Tensor, float], torch.Tensor],
    level: float,
    images: torch.Tensor,
    keys: Sequence[str],
    colour: Sequence[float],
) -> torch.Tensor:
    return change(images, level)


def _corrupted(
    name: str, severity: int, seed: int, images: torch.Tensor, keys: Sequence[str], colour: Sequence[float]
) -> torch.Tensor:
    # The severity is no part of the key: an image gets more of the same noise.
    draws = [generator(seed, "corruption", name, key) for key in keys]
    return corrupt(images, name=name, severity=severity, generators=draws)


def _masked(
    share: float, inside: bool, images: torch.Tensor, keys: Sequence[str], colour: Sequence[float]
) -> torch.Tensor:
    return masked(images, share, inside=inside, colour=colour)


def _affine(images: torch.Tensor, matrix: list[list[float]]) -> torch.Tensor:
    matrices = torch.tensor(matrix, device=images.device).repeat(len(images), 1, 1)
    return _to_uint8(transformed(images.float(), matrices))


def _to_uint8(images: torch.Tensor) -> torch.Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)
