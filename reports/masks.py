"""What a segmentation leaves behind: a palette PNG an image, of its size, and a row with the share of each class."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from reports.predictions import Prediction, fitted, name_width
from settings.whole_file import TableWriter

OUTSIDE = 255
"""Pixels of a mask that the net has not seen: what the centre crop leaves out."""


def shares(one: Prediction, class_names: Sequence[str]) -> list[float]:
    """Share of each class among the pixels that the net has seen."""
    assert one.mask is not None
    seen = one.mask[one.mask != OUTSIDE].long()
    return (seen.bincount(minlength=len(class_names))[: len(class_names)] / max(1, len(seen))).tolist()


def to_plain(one: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """A row as JSON has it: path, share of each class, and the reason where there is none."""
    found = None if one.mask is None else dict(zip(class_names, shares(one, class_names), strict=True))
    return {"path": one.name, "shares": found, "reason": one.reason}


def csv_rows(file: IO[str], class_names: Sequence[str]) -> Callable[[Prediction], None]:
    """Write the header; return what writes a row: path, share of each class, reason."""
    rows = TableWriter(file)
    named = [f"share of {name}" if name in ("path", "reason") else name for name in class_names]
    rows.writerow(["path", *named, "reason"])

    def write(one: Prediction) -> None:
        found = [""] * len(class_names) if one.mask is None else [f"{share:.6g}" for share in shares(one, class_names)]
        rows.writerow([one.name, *found, one.reason or ""])

    return write


def json_rows(file: IO[str], class_names: Sequence[str]) -> Callable[[Prediction], None]:
    """Return what writes a row."""

    def write(one: Prediction) -> None:
        file.write(json.dumps(to_plain(one, class_names), ensure_ascii=False) + "\n")

    return write


def screen_rows(file: IO[str], class_names: Sequence[str], names: Sequence[str]) -> Callable[[Prediction], None]:
    """Return what writes a row: the classes with the largest shares."""
    width = name_width(names)

    def write(one: Prediction) -> None:
        if one.mask is None:
            said = f"not read: {one.reason}"
        else:
            found = sorted(zip(shares(one, class_names), class_names, strict=True), reverse=True)[:5]
            said = ", ".join(f"{name} {share:.1%}" for share, name in found if share)
        file.write(f"{fitted(one.name, width, keep_end=True)}  {said}\n")

    return write


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
