"""Elastic distortion: every pixel shifted by a smooth random field.

Source: Simard et al. 2003, doi.org/10.1109/ICDAR.2003.1227801, section 2.
"""

import math
from typing import Annotated

import torch
from torch.nn.functional import conv2d, pad

from datamodules.batch.coin import toss
from datamodules.batch.warp import pixel_grid, warp
from settings.errors import UserError

CPU = torch.device("cpu")


def smooth_field(noise: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur noise ``(B, 2, H, W)`` by a Gaussian of ``sigma`` pixels, mirrored at the border."""
    reach = min(math.ceil(3 * sigma), noise.shape[-1] - 1, noise.shape[-2] - 1)
    places = torch.arange(-reach, reach + 1, dtype=noise.dtype, device=noise.device)
    weights = (-0.5 * (places / sigma) ** 2).exp()
    weights = (weights / weights.sum()).view(1, 1, -1)
    flat = noise.flatten(0, 1)[:, None]  # (2 B, 1, H, W)
    flat = conv2d(pad(flat, (reach, reach, reach, reach), mode="reflect"), weights[:, :, None])
    return conv2d(flat, weights[..., None]).view_as(noise)


class Elastic:
    """Warp each image by a field of its own, with probability ``p``.

    Args:
        shift: how far pixels move, as a share of the side: the field's standard deviation.
        smoothness: sigma of the Gaussian that smooths the field, as a share of the side: small gives ripples,
            large moves whole regions.
        p: share of the images that is warped.
    """

    neutral = {"shift": 0}

    def __init__(
        self,
        *,
        shift: Annotated[float, "0 <= x <= 0.5"] = 0.025,
        smoothness: Annotated[float, "0.01 <= x <= 1"] = 0.1,
        p: Annotated[float, "0 <= x <= 1"] = 1.0,
    ) -> None:
        self.shift = shift
        self.smoothness = smoothness
        self.p = p

    def draw(
        self, n: int, height: int, width: int, generator: torch.Generator, *, device: torch.device = CPU
    ) -> torch.Tensor:
        """Return float32 ``(n, H, W, 2)``: how far, columns then rows, in units of half a side; 0 for no."""
        sigma = self.smoothness * min(height, width)
        if sigma < 0.25 or min(height, width) < 2:
            raise UserError(
                f"augment.elastic.smoothness={self.smoothness} is {sigma:.2g} of {min(height, width)} pixels: "
                f"it must be at least {0.25 / min(height, width):.2g}"
            )
        warped = toss(n, self.p, generator).to(device)
        # Two numbers for each pixel, and their smoothing: where the images are, from a seed that was drawn on the CPU.
        there = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
        field = smooth_field(torch.randn(n, 2, height, width, generator=there, device=device), sigma)
        field = field / field.std(dim=(1, 2, 3), keepdim=True) * (2 * self.shift)
        return (field * warped.view(-1, 1, 1, 1)).permute(0, 2, 3, 1)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Warp images ``(B, C, H, W)`` and their masks ``(B, H, W)``; targets stay."""
        height, width = images.shape[-2:]
        field = self.draw(len(images), height, width, generator, device=images.device)
        images, masks = warp(images, pixel_grid(height, width, images.device) + field, masks=masks)
        return images, targets, masks
