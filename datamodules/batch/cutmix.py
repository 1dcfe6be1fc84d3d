"""CutMix: a rectangle of another image, labels by area (Yun et al. 2019, arxiv.org/abs/1905.04899)."""

import torch

from datamodules.batch.boxes import Boxes, covered
from datamodules.batch.mixing import Mixing, draw_lam, draw_partners, mix_targets


def cutmix(images: torch.Tensor, boxes: Boxes, partners: torch.Tensor) -> torch.Tensor:
    """Put into each image its box, ``(B,)``, of its partner.

    Args:
        images: ``(B, ..., H, W)``, images or masks.
        boxes: int64 ``(B,)`` each edge.
        partners: int64 ``(B,)``.
    """
    inside = covered(boxes, *images.shape[-2:])  # (B, H, W)
    return torch.where(inside if images.ndim == 3 else inside[:, None], images[partners], images)


class CutMix(Mixing):
    """Patch a share ``p`` of the images with one another.

    A box has the area 1 - lam, with lam from Beta(alpha, alpha), the image's proportions, and a uniform
    centre; labels go by the area that is left of it inside the image.
    """

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> tuple[Boxes, torch.Tensor]:
        """Return boxes inside the image, int64 ``(n,)`` each edge, and partners, int64 ``(n,)``."""
        half = 0.5 * (1 - draw_lam(n, self.alpha, generator)).sqrt()
        edges = []
        for side in (height, width):
            centre = torch.randint(side, (n,), generator=generator)
            reach = (half * side).long()
            edges += [(centre - reach).clamp_min(0), (centre + reach).clamp_max(side)]
        return Boxes(*edges), draw_partners(n, generator)

    def mix(
        self, images: torch.Tensor, targets: torch.Tensor, masks: torch.Tensor | None, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Patch all images, and their masks alike."""
        height, width = images.shape[-2:]
        boxes, partners = self.draw(len(images), height, width, generator)
        boxes, partners = boxes.to(images.device), partners.to(images.device)
        lam = 1 - covered(boxes, height, width).float().mean(dim=(-2, -1))  # (B,)
        masks = None if masks is None else cutmix(masks, boxes, partners)
        return cutmix(images, boxes, partners), mix_targets(targets, lam, partners), masks
