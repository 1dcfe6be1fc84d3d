"""RandAugment: a few of 14 operations, all at one magnitude (Cubuk et al. 2019, arxiv.org/abs/1909.13719).

Operation and sign are drawn for each image; the batch is then sorted by them, and each group is changed at
once. So each image equals torchvision's result at the same draw, bit for bit, without a loop over images.
None of the 14 mirrors an image, and a rotation is at most 30 degrees: what `data.forbid` says of flips needs
nothing in here.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from datamodules.batch.coin import check_probability, check_ranges, toss

LEVELS = 31  # magnitudes 0 to 30, as in torchvision
IGNORE = 255  # target of mask pixels that come from outside the image


def v2() -> Any:
    """Torchvision's functions; imported where they are used, because that takes a second."""
    from torchvision.transforms.v2 import functional

    return functional


def affine(images: torch.Tensor, *, fill: list[float] | None = None, **change: Any) -> torch.Tensor:
    """Shear or shift by nearest neighbours; black comes in, or ``fill``."""
    plain = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    return v2().affine(images, **{**plain, **change}, fill=fill)


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


class Kind(NamedTuple):
    """One of the 14: what it does to images ``(n, C, H, W)`` at a strength, and how strong a magnitude is."""

    change: Callable[..., torch.Tensor]
    weakest: float = 0.0
    strongest: float = 0.0
    signed: bool = False
    geometric: bool = False  # then it takes `fill`, and masks move with it
    share_of: str = ""  # "height" or "width": the strength is a share of that side


KINDS: dict[str, Kind] = {
    "identity": Kind(lambda images, _: images),
    "shear_x": Kind(
        lambda images, slope, **fill: affine(images, shear=[_degrees(slope), 0.0], center=[0, 0], **fill),
        *(0.0, 0.3, True, True),
    ),
    "shear_y": Kind(
        lambda images, slope, **fill: affine(images, shear=[0.0, _degrees(slope)], center=[0, 0], **fill),
        *(0.0, 0.3, True, True),
    ),
    "translate_x": Kind(
        lambda images, pixels, **fill: affine(images, translate=[int(pixels), 0], **fill),
        *(0.0, 150 / 331, True, True, "width"),
    ),
    "translate_y": Kind(
        lambda images, pixels, **fill: affine(images, translate=[0, int(pixels)], **fill),
        *(0.0, 150 / 331, True, True, "height"),
    ),
    "rotate": Kind(lambda images, angle, **fill: v2().rotate(images, angle, **fill), 0.0, 30.0, True, True),
    "brightness": Kind(lambda images, change: v2().adjust_brightness(images, 1 + change), 0.0, 0.9, True),
    "color": Kind(lambda images, change: v2().adjust_saturation(images, 1 + change), 0.0, 0.9, True),
    "contrast": Kind(lambda images, change: v2().adjust_contrast(images, 1 + change), 0.0, 0.9, True),
    "sharpness": Kind(lambda images, change: sharpness(images, 1 + change), 0.0, 0.9, True),
    "posterize": Kind(lambda images, bits: v2().posterize(images, round(bits)), 8.0, 4.0),
    "solarize": Kind(lambda images, share: v2().solarize(images, share * 255), 1.0, 0.0),
    "autocontrast": Kind(lambda images, _: v2().autocontrast(images)),
    "equalize": Kind(lambda images, _: v2().equalize(images)),
}
"""The operations in torchvision's order, with the ends of their ranges at magnitude 0 and 30."""


class Draws(NamedTuple):
    """Which operation in each round, an index into `KINDS`, and whether its strength is negative: ``(num_ops, B)``."""

    operations: torch.Tensor
    negative: torch.Tensor


def strength(kind: Kind, magnitude: int, height: int, width: int) -> float:
    """How strong a magnitude is for images of this size, in the operation's own unit."""
    side = {"height": height, "width": width}.get(kind.share_of, 1)
    return torch.linspace(kind.weakest * side, kind.strongest * side, LEVELS)[magnitude].item()


def rand_augment(
    images: torch.Tensor, draws: Draws, *, magnitude: int, masks: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Change each image by its operations, one round after the other.

    Args:
        images: uint8 ``(B, C, H, W)``, C 1 or 3.
        draws: on the CPU, so that the groups' sizes are known without waiting for a device.
        magnitude: 0 to 30, of all operations.
        masks: int64 ``(B, H, W)``; geometric operations move them, and 255 comes in.

    Returns:
        New images and masks.
    """
    images = images.clone()
    masks = None if masks is None else masks.clone()
    kinds = list(KINDS.values())
    signed = torch.tensor([kind.signed for kind in kinds])
    for operations, negative in zip(draws.operations, draws.negative, strict=True):
        groups = 2 * operations + (negative & signed[operations])  # (B,)
        members = groups.argsort().split(groups.bincount(minlength=2 * len(kinds)).tolist())
        for group, chosen in enumerate(members):
            kind = kinds[group // 2]
            if not len(chosen) or group // 2 == 0:
                continue
            chosen = chosen.to(images.device)
            amount = strength(kind, magnitude, *images.shape[-2:]) * (-1 if group % 2 else 1)
            images[chosen] = kind.change(images[chosen], amount)
            if masks is not None and kind.geometric:
                masks[chosen] = kind.change(masks[chosen, None], amount, fill=[float(IGNORE)])[:, 0]
    return images, masks


class RandAugment:
    """Draw ``num_ops`` of the 14 operations for each image, with probability ``p``.

    Args:
        num_ops: rounds; the same operation may come twice.
        magnitude: 0 (weak) to 30.
        p: share of the images that is changed at all.
    """

    ranges = {"num_ops": (0, 14), "magnitude": (0, 30)}  # a literal: it is read, not run

    def __init__(self, *, num_ops: int = 2, magnitude: int = 9, p: float = 1.0) -> None:
        check_ranges(self.ranges, num_ops=num_ops, magnitude=magnitude)
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.p = check_probability(p)

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """Return operations (uniform over all 14) and signs (a fair coin) of n images."""
        shape = (self.num_ops, n)
        operations = torch.randint(len(KINDS), shape, generator=generator)
        negative = torch.rand(shape, generator=generator) < 0.5
        return Draws(operations * toss(n, self.p, generator), negative)  # 0 is the identity

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Change images ``(B, C, H, W)`` and move their masks ``(B, H, W)``; targets stay."""
        images, masks = rand_augment(images, self.draw(len(images), generator), magnitude=self.magnitude, masks=masks)
        return images, targets, masks


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))
