"""What a segmentation leaves behind: a palette PNG an image, of its size, and a row with the share of each class."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from reports.predictions import Prediction

OUTSIDE = 255
"""Pixels of a mask that the net has not seen: what the centre crop leaves out."""


def shares(one: Prediction, class_names: Sequence[str]) -> list[float]:
    """Share of each class among the pixels that the net has seen."""
    assert one.mask is not None
    seen = one.mask[one.mask != OUTSIDE].long()
    return (seen.bincount(minlength=len(class_names))[: len(class_names)] / max(1, len(seen))).tolist()


def values(one: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """The share of each class."""
    return {"shares": dict(zip(class_names, shares(one, class_names), strict=True))}


def empty(class_names: Sequence[str]) -> dict[str, Any]:
    """The same column without a prediction."""
    return {"shares": dict.fromkeys(class_names)}


def shown(class_names: Sequence[str]) -> tuple[list[str], Callable[[Prediction], list[str]]]:
    """The classes with the largest shares."""

    def cells(one: Prediction) -> list[str]:
        found = sorted(zip(shares(one, class_names), class_names, strict=True), reverse=True)[:5]
        return [", ".join(f"{name} {share:.1%}" for share, name in found if share)]

    return [], cells


def png_files(
    folder: Path, *, palette: torch.Tensor, overlay: Callable[..., torch.Tensor] | None
) -> Callable[..., None]:
    """Return what writes FOLDER/NAME.png, an indexed PNG whose values are the classes; and NAME-overlay.png.

    Args:
        folder: made with the first file.
        palette: colours uint8 (256, 3).
        overlay: from image and mask to a picture uint8 (3, H, W); None writes none.
    """
    taken: dict[str, int] = {}

    def write(one: Prediction) -> None:
        if one.mask is None:
            return
        from PIL import Image

        folder.mkdir(parents=True, exist_ok=True)
        stem = Path(one.name).stem or "image"
        taken[stem] = taken.get(stem, 0) + 1
        stem = stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"
        picture = Image.fromarray(one.mask.numpy(), mode="P")
        picture.putpalette(palette.flatten().tolist())
        picture.save(folder / f"{stem}.png")
        if overlay is not None and one.image is not None:
            shown = overlay(one.image.expand(3, -1, -1), one.seen)
            Image.fromarray(shown.permute(1, 2, 0).numpy()).save(folder / f"{stem}-overlay.png")

    return write
