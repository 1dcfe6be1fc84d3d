"""Mirror images of a batch, each by its own coin."""

from typing import Annotated

import torch

from datamodules.batch.coin import toss
from datamodules.batch.large import is_large, mirror_large


def flip(images: torch.Tensor, chosen: torch.Tensor, *, dim: int) -> torch.Tensor:
    """Mirror the images where ``chosen`` (bool ``(B,)``) is true along ``dim``: -1 left-right, -2 top-bottom.

    Args:
        images: ``(B, ..., H, W)``, images or masks.
        chosen: which of them; on the CPU, so that nothing waits for a device.
        dim: the axis that is mirrored.
    """
    if images.dtype == torch.uint8 and images.ndim == 4 and is_large(images):
        return mirror_large(images, chosen, across=dim == -1)
    which = chosen.nonzero()[:, 0]
    mirrored = images.index_select(0, which.to(images.device)).flip(dim)
    if images.device.type == "cpu":  # numpy moves an image at a time, torch a number: a twentieth of its time
        result = images.clone(memory_format=torch.contiguous_format)
        result.numpy()[which.numpy()] = mirrored.numpy()
        return result
    # Those behind all, and a choice of rows: a quarter of the time of choosing pixel by pixel.
    places = torch.arange(len(images)).index_copy_(0, which, torch.arange(len(which)) + len(images))
    return torch.cat((images, mirrored)).index_select(0, places.to(images.device))


class HorizontalFlip:
    """Mirror left and right with probability ``p``; wrong for digits and text: see ``data.forbid``."""

    dim = -1

    def __init__(self, *, p: Annotated[float, "0 <= x <= 1"] = 0.5) -> None:
        self.p = p

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return bool ``(n,)``: which images to mirror."""
        return toss(n, self.p, generator)

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Mirror images ``(B, C, H, W)`` and their masks ``(B, H, W)``; targets stay."""
        chosen = self.draw(len(images), generator)
        if masks is not None:
            masks = flip(masks, chosen, dim=self.dim)
        return flip(images, chosen, dim=self.dim), targets, masks


class VerticalFlip(HorizontalFlip):
    """Mirror top and bottom with probability ``p``, for pictures that have no up: cells, tiles, the sky."""

    dim = -2
