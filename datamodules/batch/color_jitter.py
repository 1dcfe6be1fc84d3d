"""Colour jitter: brightness, contrast, saturation and hue by random factors, in a random order.

Grey images have neither saturation nor hue: those leave them as they are.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch

from datamodules.batch.coin import toss


def grey(images: torch.Tensor) -> torch.Tensor:
    """Luma of uint8 ``(n, 3, H, W)``, whole grey levels as float32 ``(n, 1, H, W)``."""
    red, green, blue = images.unbind(dim=1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()[:, None]


def blend(images: torch.Tensor, other: torch.Tensor | float, share: torch.Tensor) -> torch.Tensor:
    """Images ``(n, C, H, W)`` in the shares ``(n, 1, 1, 1)``, which may exceed 1, and ``other`` in the rest."""
    return (images * share + other * (1 - share)).clamp_(0, 255).to(torch.uint8)


def brightness(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """0 is black, 1 the image itself."""
    return blend(images, 0.0, factor)


def contrast(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """0 is the mean grey of the image, 1 the image itself."""
    tones = grey(images) if images.shape[1] == 3 else images.float()
    return blend(images, tones.mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """0 is grey, 1 the image itself."""
    return blend(images, grey(images), factor) if images.shape[1] == 3 else images


def hue(images: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Turn the colours' angle; 1 is once around the circle."""
    if images.shape[1] == 1:
        return images
    pixels = images.float() / 255
    value, smallest = pixels.amax(dim=1), pixels.amin(dim=1)
    spread = value - smallest
    red, green, blue = ((value - one) / spread.where(spread > 0, 1.0) for one in pixels.unbind(dim=1))
    angle = torch.where(
        pixels[:, 0] == value,
        blue - green,
        torch.where(pixels[:, 1] == value, 2 + red - blue, 4 + green - red),
    )
    angle = angle + 6 * turn[:, 0]  # (n, H, W)
    # Each channel is a trapezium over the circle, shifted by a third of it.
    shifts = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1)
    place = (shifts + angle[:, None]) % 6
    edge = torch.minimum(place, 4 - place).clamp_(0, 1)
    return ((value[:, None] - spread[:, None] * edge) * 255).round_().clamp_(0, 255).to(torch.uint8)


CHANGES: tuple[tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], float], ...] = (
    (brightness, 1.0),
    (contrast, 1.0),
    (saturation, 1.0),
    (hue, 0.0),
)
"""The four, with the factor that changes nothing."""


class Draws(NamedTuple):
    """Factors ``(4, B)`` in the order of `CHANGES`, and the order in which each image gets them ``(4, B)``."""

    factors: torch.Tensor
    order: torch.Tensor


def color_jitter(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """Change uint8 images ``(B, C, H, W)``, each by its own factors in its own order."""
    images = images.clone()
    for turn in draws.order:  # (B,)
        for index, (change, neutral) in enumerate(CHANGES):
            chosen = ((turn == index) & (draws.factors[index] != neutral)).nonzero()[:, 0]
            if len(chosen):
                factors = draws.factors[index][chosen].to(images.device).view(-1, 1, 1, 1)
                places = chosen.to(images.device)
                images[places] = change(images[places], factors)
    return images


class ColorJitter:
    """Change the colours of each image with probability ``p``, by factors and an order of its own.

    Args:
        brightness: factors from 1 - this to 1 + this.
        contrast: likewise.
        saturation: likewise.
        hue: turn of the colour circle, from minus this to this; 0.5 is half of it.
        p: share of the images that is changed at all.
    """

    neutral = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}

    def __init__(
        self,
        *,
        brightness: Annotated[float, "0 <= x <= 1"] = 0.4,
        contrast: Annotated[float, "0 <= x <= 1"] = 0.4,
        saturation: Annotated[float, "0 <= x <= 1"] = 0.4,
        hue: Annotated[float, "0 <= x <= 0.5"] = 0.1,
        p: Annotated[float, "0 <= x <= 1"] = 0.8,
    ) -> None:
        self.reaches = (brightness, contrast, saturation, hue)
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """Return factors (uniform) and orders (uniform over all 24); neutral factors where the coin says no."""
        order = torch.rand(4, n, generator=generator).argsort(dim=0)
        changed = toss(n, self.p, generator)
        factors = [
            torch.where(changed, neutral + torch.empty(n).uniform_(-reach, reach, generator=generator), neutral)
            for reach, (_, neutral) in zip(self.reaches, CHANGES, strict=True)
        ]
        return Draws(torch.stack(factors), order)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Change images ``(B, C, H, W)``; targets and masks stay."""
        return color_jitter(images, self.draw(len(images), generator)), targets, masks
