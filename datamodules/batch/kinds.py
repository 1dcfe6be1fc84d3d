"""The image operations that the automatic policies draw from, and how a batch gets a different one each.

RandAugment, TrivialAugment, AutoAugment and AugMix differ in what they draw; the operations are the same 15. A
batch is sorted by operation and strength, and each group is changed at once. So each image equals torchvision's
result at the same draw, bit for bit, without a loop over images. None of the 15 mirrors an image: what `data.forbid`
says of flips needs nothing in here.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from datamodules.batch.large import change_large, is_large
from datamodules.batch.random_crop import IGNORE


def v2() -> Any:
    """Torchvision's functions; imported where they are used, because that takes a second."""
    from torchvision.transforms.v2 import functional

    return functional


def affine(images: torch.Tensor, **change: Any) -> torch.Tensor:
    """Shear or shift; black comes in, or ``fill``."""
    return v2().affine(images, **{"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **change})


def sharpness(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Blend with a blurred copy: 0 is blurred, 1 the image itself, 2 sharpened; the border pixels stay.

    The blur is exact in integers below 2^24, and a thirteenth of one is never half-way between two grey
    levels: so sums of shifted images give torchvision's convolution to the bit, in a third of its time.
    """
    if min(images.shape[-2:]) <= 2:
        return images
    output = images.to(torch.float32)
    rows = output[..., :-2, :] + output[..., 1:-1, :] + output[..., 2:, :]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]  # (..., H - 2, W - 2)
    inner = output[..., 1:-1, 1:-1]
    blurred = around.add_(inner, alpha=4).div_(13).round_()
    inner.add_(blurred.sub_(inner), alpha=1 - factor)
    return output.clamp_(0, 255).to(torch.uint8)


def solarize(images: torch.Tensor, threshold: float) -> torch.Tensor:
    """Invert the pixels from ``threshold`` on: 255 - x is x with all bits turned, in a fortieth of a `where`'s time."""
    return images ^ (images >= threshold).to(torch.uint8).mul_(255)


class Kind(NamedTuple):
    """What an operation does to images ``(n, C, H, W)`` at a strength in its own unit."""

    change: Callable[..., torch.Tensor]
    signed: bool = False  # then a coin decides the sign of the strength
    geometric: bool = False  # then it takes `interpolation` and `fill`, and masks move with it


KINDS: dict[str, Kind] = {
    "identity": Kind(lambda images, _: images),
    "shear_x": Kind(
        lambda images, slope, **how: affine(images, shear=[_degrees(slope), 0.0], center=[0, 0], **how), True, True
    ),
    "shear_y": Kind(
        lambda images, slope, **how: affine(images, shear=[0.0, _degrees(slope)], center=[0, 0], **how), True, True
    ),
    "translate_x": Kind(lambda images, pixels, **how: affine(images, translate=[int(pixels), 0], **how), True, True),
    "translate_y": Kind(lambda images, pixels, **how: affine(images, translate=[0, int(pixels)], **how), True, True),
    "rotate": Kind(lambda images, angle, **how: v2().rotate(images, angle, **how), True, True),
    "brightness": Kind(lambda images, change: v2().adjust_brightness(images, 1 + change), True),
    "color": Kind(lambda images, change: v2().adjust_saturation(images, 1 + change), True),
    "contrast": Kind(lambda images, change: v2().adjust_contrast(images, 1 + change), True),
    "sharpness": Kind(lambda images, change: sharpness(images, 1 + change), True),
    "posterize": Kind(lambda images, bits: v2().posterize(images, round(bits))),
    "solarize": Kind(lambda images, share: solarize(images, share * 255)),
    "autocontrast": Kind(lambda images, _: v2().autocontrast(images)),
    "equalize": Kind(lambda images, _: v2().equalize(images)),
    "invert": Kind(lambda images, _: v2().invert(images)),
}
"""The operations in torchvision's order."""

INDEX = {name: index for index, name in enumerate(KINDS)}


class Range(NamedTuple):
    """Strengths of an operation from the weakest level to the strongest."""

    weakest: float
    strongest: float
    share_of: str = ""  # "height" or "width": the strength is a share of that side


def levels(ranges: Mapping[str, Range], count: int, height: int, width: int) -> torch.Tensor:
    """Strengths of all kinds at ``count`` evenly spaced levels: float64 ``(kinds, count)``, 0 where none is meant."""
    table = torch.zeros(len(KINDS), count, dtype=torch.float64)
    for name, (weakest, strongest, share_of) in ranges.items():
        side = {"height": height, "width": width}.get(share_of, 1)
        table[INDEX[name]] = torch.linspace(weakest * side, strongest * side, count)  # float32, as torchvision's
    return table


def signed(operations: torch.Tensor, strengths: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Turn the strengths of operations that have a sign where ``negative`` is true; all of one shape."""
    has_sign = torch.tensor([kind.signed for kind in KINDS.values()])
    return torch.where(negative & has_sign[operations], -strengths, strengths)


def change_each(
    images: torch.Tensor,
    operations: torch.Tensor,
    strengths: torch.Tensor,
    *,
    masks: torch.Tensor | None = None,
    interpolation: str = "nearest",
    mapped: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Change each image by its operations, one round after the other; large ones on the CPU one by one.

    Args:
        images: uint8 ``(B, C, H, W)``, C 1 or 3.
        operations: int64 ``(rounds, B)``, indices into `KINDS`; on the CPU, so that nothing waits for a device.
        strengths: float64 ``(rounds, B)`` likewise, in the unit of each operation.
        masks: int64 ``(B, H, W)``; geometric operations move them, and 255 comes in.
        interpolation: of geometric operations, "nearest" or "bilinear"; of masks always the nearest.
        mapped: strengths come again and again, so that where pixels go is worth remembering for large images.

    Returns:
        New images and masks.
    """
    if masks is None and interpolation == "nearest" and is_large(images) and len(operations):
        return _change_one_by_one(images, operations, strengths, mapped=mapped), None
    for now, by in zip(operations, strengths, strict=True):
        images, masks = _change_sorted(images, now, by, masks=masks, interpolation=interpolation)
    return images, masks


def _change_one_by_one(
    images: torch.Tensor, operations: torch.Tensor, strengths: torch.Tensor, *, mapped: bool
) -> torch.Tensor:
    """All rounds of an image before the next one: 0.37 of the time where a batch is larger than a processor's cache."""
    names, kinds = list(KINDS), list(KINDS.values())
    images, changed = images.contiguous(), torch.empty(images.shape, dtype=torch.uint8)
    between = [torch.empty(images.shape[1:], dtype=torch.uint8) for _ in range(min(len(operations) - 1, 2))]
    for image, last, ops, by in zip(
        images.unbind(), changed.unbind(), operations.T.tolist(), strengths.T.tolist(), strict=True
    ):
        for turn, (index, strength) in enumerate(zip(ops, by, strict=True), start=1):
            into = last if turn == len(ops) else between[turn % 2 - 1]
            change, geometric = kinds[index].change, kinds[index].geometric
            change_large(image, names[index], change, strength, geometric=geometric, into=into, mapped=mapped)
            image = into
    return changed


def _change_sorted(
    images: torch.Tensor,
    operations: torch.Tensor,
    strengths: torch.Tensor,
    *,
    masks: torch.Tensor | None,
    interpolation: str,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One round, ``(B,)``: sort the batch by operation and strength, and change each group at once."""
    pairs, group, sizes = torch.stack((operations.double(), strengths), dim=1).unique(
        dim=0, return_inverse=True, return_counts=True
    )
    order = group.argsort()
    # Sort, change each group, join, and sort back: ten times as fast as writing groups to their places.
    there, back = order.to(images.device), order.argsort().to(images.device)
    sizes = sizes.tolist()
    grouped, kinds = images.index_select(0, there).split(sizes), list(KINDS.values())
    grouped_masks = None if masks is None else list(masks.index_select(0, there)[:, None].split(sizes))
    changed = []
    for place, (index, strength) in enumerate(pairs.tolist()):
        kind = kinds[int(index)]
        how = {"interpolation": _mode(interpolation)} if kind.geometric else {}
        changed.append(kind.change(grouped[place], strength, **how))
        if grouped_masks is not None and kind.geometric:
            how = {"interpolation": _mode("nearest"), "fill": [float(IGNORE)]}
            grouped_masks[place] = kind.change(grouped_masks[place], strength, **how)
    if grouped_masks is not None:
        masks = torch.cat(grouped_masks)[:, 0].index_select(0, back)
    return torch.cat(changed).index_select(0, back), masks


def _mode(interpolation: str) -> Any:
    from torchvision.transforms.v2 import InterpolationMode

    return InterpolationMode(interpolation)


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))
