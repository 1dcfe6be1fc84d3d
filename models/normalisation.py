"""Normalisation as a part of a net, and its reverse; `datamodules/transforms.py` normalises the batches of a run.

The numbers are those of `Preprocessing.scale` and `.bias` in both places, so the same pixels give the same bits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from settings.preprocessing import Preprocessing


class Normalise(nn.Module):
    """Map images (B, C, H, W) of 0 to 255 to float32 (x / 255 - mean) / std; gradients flow through it.

    Args:
        preprocessing: of the run.
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(preprocessing.scale).view(-1, 1, 1))  # (C, 1, 1)
        self.register_buffer("bias", torch.tensor(preprocessing.bias).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise uint8 or float images."""
        return torch.addcmul(self.bias, images.to(torch.float32), self.scale)


def before_normalising(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Images uint8 (..., C, H, W) of normalised float ones; mean and std are (C, 1, 1)."""
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
