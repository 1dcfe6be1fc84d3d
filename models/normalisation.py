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


class Renormalise(nn.Module):
    """Map images that are normalised for one net to those of another; equal preparations change nothing.

    Args:
        given: how the images are normalised.
        wanted: how they shall be.
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, given: Preprocessing, wanted: Preprocessing) -> None:
        super().__init__()
        self.same = (given.mean, given.std) == (wanted.mean, wanted.std)
        scale = [theirs / own for theirs, own in zip(given.std, wanted.std, strict=True)]
        differences = zip(given.mean, wanted.mean, wanted.std, strict=True)
        bias = [(theirs - own) / std for theirs, own, std in differences]
        self.register_buffer("scale", torch.tensor(scale).view(-1, 1, 1))  # (C, 1, 1)
        self.register_buffer("bias", torch.tensor(bias).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W)."""
        return images if self.same else torch.addcmul(self.bias, images, self.scale)
