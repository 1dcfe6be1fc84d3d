"""Hide what the net itself finds most telling, so that it learns to look at the rest; labels stay.

Wei et al. 2017, arxiv.org/abs/1703.08448, who mine one region after the other with one net after the other. Here the
net that trains is asked anew for each batch, by its class activation map of the right class.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from torch.nn.functional import interpolate

from datamodules.batch.coin import toss

Attention = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Images uint8 ``(B, C, H, W)`` and their targets -> how much each place speaks for them, float ``(B, h, w)``."""


def telling(maps: torch.Tensor, height: int, width: int, threshold: float) -> torch.Tensor:
    """Return bool ``(B, H, W)``: where a map lies above its threshold; nowhere, if it is the same everywhere.

    Args:
        maps: float ``(B, h, w)``, brought to the size of the images bilinearly.
        height: of the images.
        width: of the images.
        threshold: in [0, 1], from a map's lowest value to its highest.
    """
    maps = interpolate(maps[:, None].float(), (height, width), mode="bilinear")[:, 0]
    above = maps - maps.amin(dim=(1, 2), keepdim=True)
    return above > threshold * above.amax(dim=(1, 2), keepdim=True)


class AdversarialErasing:
    """Hide the most telling region of each image with probability ``p``.

    Args:
        attention: asks the net; filled in by the data module.
        threshold: what lies above it is hidden; 1 hides nothing, and nothing but the least telling places stays at 0.
        value: grey level of what is hidden; the paper takes the mean of the training images.
        p: share of the images.
    """

    asks_net = True
    neutral = {"threshold": 1}

    def __init__(
        self,
        *,
        attention: Attention,
        threshold: Annotated[float, "0 <= x <= 1"] = 0.6,
        value: Annotated[int, "0 <= x <= 255"] = 128,
        p: Annotated[float, "0 <= x <= 1"] = 0.5,
    ) -> None:
        self.attention = attention
        self.threshold = threshold
        self.value = value
        self.p = p

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Hide a region of images ``(B, C, H, W)``; targets and masks stay."""
        chosen = toss(len(images), self.p, generator).nonzero()[:, 0].to(images.device)
        if not len(chosen):
            return images, targets, masks
        height, width = images.shape[-2:]
        hidden = torch.zeros(len(images), height, width, dtype=torch.bool, device=images.device)
        hidden[chosen] = telling(self.attention(images[chosen], targets[chosen]), height, width, self.threshold)
        return images.masked_fill(hidden[:, None], self.value), targets, masks
