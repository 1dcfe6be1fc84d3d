"""Gaussian noise on the grey levels, and Gaussian blur, each image by a strength of its own."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch.nn.functional import conv2d, pad

from datamodules.batch.coin import toss


class GaussianNoise:
    """Add noise to each image with probability ``p``; what leaves 0 to 255 is cut off.

    Args:
        std: standard deviation of the noise, as a share of the range from black to white; uniform from 0 to this
            for each image.
        p: share of the images.
    """

    neutral = {"std": 0}

    def __init__(self, *, std: Annotated[float, "0 <= x <= 1"] = 0.1, p: Annotated[float, "0 <= x <= 1"] = 0.5) -> None:
        self.std = std
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return the noise's standard deviation for each of n images, in grey levels; 0 for no."""
        strengths = torch.rand(n, generator=generator) * (255 * self.std)
        return strengths * toss(n, self.p, generator)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Add noise to images ``(B, C, H, W)``; targets and masks stay."""
        strengths = self.draw(len(images), generator).to(images.device).view(-1, 1, 1, 1)
        # A number for each pixel: drawn where the images are, from a seed that was drawn on the CPU.
        seed = int(torch.randint(2**62, (), generator=generator))
        there = torch.Generator(images.device).manual_seed(seed)
        noise = torch.randn(images.shape, generator=there, device=images.device)
        return noise.mul_(strengths).add_(images).round_().clamp_(0, 255).to(torch.uint8), targets, masks


def gaussian_blur(images: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Blur each image of uint8 ``(B, C, H, W)`` by its own sigma, float32 ``(B,)`` in pixels, mirrored at the border.

    All images share the width of the kernel, three times the largest sigma to each side.
    """
    n, channels, height, width = images.shape
    reach = min(math.ceil(3 * float(sigmas.max())), height - 1, width - 1)
    if reach < 1:
        return images
    places = torch.arange(-reach, reach + 1, device=images.device)
    weights = (-0.5 * (places / sigmas.to(images.device)[:, None].clamp_min(1e-6)) ** 2).exp()  # (B, taps)
    weights = (weights / weights.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)[:, None]
    flat = pad(images.reshape(1, n * channels, height, width).float(), (reach,) * 4, mode="reflect")
    flat = conv2d(flat, weights[:, :, None], groups=n * channels)
    flat = conv2d(flat, weights[..., None], groups=n * channels)
    return flat.view_as(images).round_().to(torch.uint8)


class GaussianBlur:
    """Blur each image with probability ``p``.

    Args:
        sigma: smallest and largest width of the Gaussian in pixels; uniform for each image.
        p: share of the images.
    """

    neutral = {"sigma": [1e-3, 1e-3]}

    def __init__(
        self,
        *,
        sigma: Annotated[Sequence[Annotated[float, "x > 0"]], "len(x) == 2"] = (0.1, 2.0),
        p: Annotated[float, "0 <= x <= 1"] = 0.5,
    ) -> None:
        if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
            raise ValueError(f"sigma is two positive numbers, the smaller first; got {list(sigma)}")
        self.sigma = (float(sigma[0]), float(sigma[1]))
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return each image's sigma, float32 ``(n,)``; 0 for no."""
        return torch.empty(n).uniform_(*self.sigma, generator=generator) * toss(n, self.p, generator)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Blur images ``(B, C, H, W)``; targets and masks stay."""
        sigmas = self.draw(len(images), generator)
        chosen = (sigmas > 0).nonzero()[:, 0]
        if len(chosen):
            places = chosen.to(images.device)
            images = images.index_copy(0, places, gaussian_blur(images[places], sigmas[chosen]))
        return images, targets, masks
