"""Rotate, shift, zoom and shear each image at once, by one resampling; quarter turns, which need none."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch

from datamodules.batch.coin import toss
from datamodules.batch.warp import pixel_grid, warp
from settings.errors import UserError


class Changes(NamedTuple):
    """What happens to each image, about its centre: float32 ``(B,)`` each.

    Attributes:
        angle: degrees, clockwise as torchvision counts.
        right, down: shift, as a share of the width and the height.
        zoom: 2 makes everything twice as large.
        shear: degrees by which upright lines lean.
    """

    angle: torch.Tensor
    right: torch.Tensor
    down: torch.Tensor
    zoom: torch.Tensor
    shear: torch.Tensor


def affine_grid(changes: Changes, height: int, width: int, device: torch.device) -> torch.Tensor:
    """Where each pixel comes from, float32 ``(B, H, W, 2)`` for `warp`: the inverse of the changes."""
    angle, shear = (torch.deg2rad(one.double()) for one in (changes.angle, changes.shear))
    zoom, cosine, sine, lean = changes.zoom.double(), angle.cos(), angle.sin(), shear.tan()
    # Forward, in pixels: rotation x zoom x [[1, -lean], [0, 1]]; its inverse:
    inverse = torch.stack((cosine - lean * sine, sine + lean * cosine, -sine, cosine), dim=-1).view(
        -1, 2, 2
    ) / zoom.view(-1, 1, 1)
    half = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    shift = torch.stack((changes.right.double() * width, changes.down.double() * height), dim=-1)  # (B, 2)
    scaled = (inverse * half / half[:, None]).float().to(device)
    offset = (-(inverse @ shift[..., None])[..., 0] / half).float().to(device)
    return pixel_grid(height, width, device) @ scaled.transpose(1, 2)[:, None] + offset[:, None, None]


class Affine:
    """Draw a rotation, shift, zoom and shear for each image, with probability ``p``; each uniform in its range.

    Args:
        degrees: rotation by up to this angle, either way.
        translate: shift by up to this share of the width and of the height.
        zoom: smallest and largest enlargement; [0.8, 1.2] is a fifth either way, [1, 1] none.
        shear: upright lines lean by up to this angle, either way.
        p: share of the images that is changed at all.
    """

    neutral = {"degrees": 0, "translate": 0, "zoom": [1, 1], "shear": 0}

    def __init__(
        self,
        *,
        degrees: Annotated[float, "0 <= x <= 180"] = 15.0,
        translate: Annotated[float, "0 <= x <= 1"] = 0.1,
        zoom: Annotated[Sequence[Annotated[float, "x > 0"]], "len(x) == 2"] = (0.9, 1.1),
        shear: Annotated[float, "0 <= x <= 80"] = 5.0,
        p: Annotated[float, "0 <= x <= 1"] = 1.0,
    ) -> None:
        if len(zoom) != 2 or not 0 < zoom[0] <= zoom[1]:
            raise ValueError(f"zoom is two positive numbers, the smaller first; got {list(zoom)}")
        self.degrees = degrees
        self.translate = translate
        self.zoom = (float(zoom[0]), float(zoom[1]))
        self.shear = shear
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> Changes:
        """Return the changes of n images; nothing where the coin says no."""
        ends = (
            (-self.degrees, self.degrees),
            (-self.translate, self.translate),
            (-self.translate, self.translate),
            self.zoom,
            (-self.shear, self.shear),
        )
        drawn = [torch.empty(n).uniform_(low, high, generator=generator) for low, high in ends]
        changed = toss(n, self.p, generator)
        nothing = (0.0, 0.0, 0.0, 1.0, 0.0)
        return Changes(*(torch.where(changed, one, none) for one, none in zip(drawn, nothing, strict=True)))

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Change images ``(B, C, H, W)`` and move their masks ``(B, H, W)``; targets stay."""
        height, width = images.shape[-2:]
        grid = affine_grid(self.draw(len(images), generator), height, width, images.device)
        images, masks = warp(images, grid, masks=masks)
        return images, targets, masks


class QuarterTurn:
    """Turn a square image by 90, 180 or 270 degrees, one as likely as the other, with probability ``p``.

    For pictures without an upright: from microscopes, from above. Most others change their meaning.
    """

    def __init__(self, *, p: Annotated[float, "0 <= x <= 1"] = 0.75) -> None:
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return int64 ``(n,)``: quarters of a turn, counter-clockwise; 0 where the coin says no."""
        return torch.randint(1, 4, (n,), generator=generator) * toss(n, self.p, generator)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Turn images ``(B, C, H, W)`` and their masks ``(B, H, W)``; targets stay."""
        height, width = images.shape[-2:]
        if height != width:
            raise UserError(f"augment.quarter_turn needs square images; these have {height}x{width} pixels")
        quarters = self.draw(len(images), generator)
        images, masks = images.clone(), None if masks is None else masks.clone()
        for turns in (1, 2, 3):
            chosen = (quarters == turns).nonzero()[:, 0].to(images.device)
            images[chosen] = images[chosen].rot90(turns, dims=(-2, -1))
            if masks is not None:
                masks[chosen] = masks[chosen].rot90(turns, dims=(-2, -1))
        return images, targets, masks
