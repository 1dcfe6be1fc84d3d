"""Mixup: soft overlap of two images and their labels (Zhang et al. 2017, arxiv.org/abs/1710.09412)."""

import torch

from datamodules.batch.mixing import Mixing, draw_lam, draw_partners, mix_targets


def mixup(images: torch.Tensor, lam: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
    """Return ``lam`` of each image and the rest of its partner, rounded to 8 bits: uint8 ``(B, C, H, W)``.

    Args:
        images: uint8 ``(B, C, H, W)``.
        lam: share of the image itself, float32 ``(B,)``, in [0, 1].
        partners: int64 ``(B,)``.
    """
    floats = images.float()
    return torch.lerp(floats[partners], floats, lam.view(-1, 1, 1, 1)).round_().to(images.dtype)


class Mixup(Mixing):
    """Overlap a share ``p`` of the images with one another; each draws its own share from Beta(alpha, alpha).

    The larger part of the two is the image's own. For a share of the whole batch that makes no difference, as
    the distribution is symmetric; with a share for each image, some would else stand in a batch twice and
    others not at all.
    """

    moves_masks = False

    def draw(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return shares, float32 ``(n,)`` of at least a half, and partners, int64 ``(n,)``."""
        lam = draw_lam(n, self.alpha, generator)
        return torch.maximum(lam, 1 - lam), draw_partners(n, generator)

    def mix(
        self, images: torch.Tensor, targets: torch.Tensor, masks: torch.Tensor | None, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Mix all images; the labels of pixels cannot be mixed.

        Raises:
            ValueError: there are masks.
        """
        if masks is not None:
            raise ValueError("mixup has no meaning for masks: a pixel has one label; drop augment.mixup")
        lam, partners = (drawn.to(images.device) for drawn in self.draw(len(images), generator))
        return mixup(images, lam, partners), mix_targets(targets, lam, partners), None
