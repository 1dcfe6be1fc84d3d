"""Mirror images of a batch, each by its own coin."""

import torch

from datamodules.batch.coin import check_probability, toss
from datamodules.batch.large import is_large, mirror_large


def flip(images: torch.Tensor, chosen: torch.Tensor, *, dim: int) -> torch.Tensor:
    """Mirror the images where ``chosen`` (bool ``(B,)``) is true along ``dim``: -1 left-right, -2 top-bottom.

    Args:
        images: ``(B, ..., H, W)``, images or masks.
        chosen: which of them.
        dim: the axis that is mirrored.
    """
    if images.dtype == torch.uint8 and images.ndim == 4 and is_large(images):
        return mirror_large(images, chosen, across=dim == -1)
    # Both, and a choice of rows: four times as fast as choosing pixel by pixel.
    places = torch.arange(len(images), device=images.device) + len(images) * chosen
    return torch.cat((images, images.flip(dim))).index_select(0, places)


class HorizontalFlip:
    """Mirror left and right with probability ``p``; wrong for digits and text: see ``data.forbid``."""

    dim = -1

    def __init__(self, *, p: float = 0.5) -> None:
        self.p = check_probability(p)

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
        chosen = self.draw(len(images), generator).to(images.device)
        if masks is not None:
            masks = flip(masks, chosen, dim=self.dim)
        return flip(images, chosen, dim=self.dim), targets, masks


class VerticalFlip(HorizontalFlip):
    """Mirror top and bottom with probability ``p``, for pictures that have no up: cells, tiles, the sky."""

    dim = -2
