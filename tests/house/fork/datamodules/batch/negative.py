"""Black for white."""

from typing import Annotated

import torch


def negative(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Invert uint8 images ``(B, C, H, W)`` where ``chosen``, bool ``(B,)``, is true."""
    return torch.where(chosen.view(-1, 1, 1, 1), 255 - images, images)


class Negative:
    """Invert with probability ``p``."""

    def __init__(self, *, p: Annotated[float, "0 <= x <= 1"] = 0.5) -> None:
        self.p = p

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Invert some images; targets and masks stay."""
        chosen = (torch.rand(len(images), generator=generator) < self.p).to(images.device)
        print("negative at", self.p)
        return negative(images, chosen), targets, masks
