"""Masks in colour: the palette, and a picture with its classes laid over it; pure functions."""

import torch
from torch import Tensor


def palette(count: int = 256) -> Tensor:
    """Colours uint8 (count, 3) that differ much between neighbours, black for class 0: those of Pascal VOC."""
    labels = torch.arange(count)
    colours = torch.zeros(count, 3, dtype=torch.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((labels >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours.to(torch.uint8)


def overlay(image: Tensor, mask: Tensor, *, opacity: float = 0.6) -> Tensor:
    """The image uint8 (3, H, W) with the classes of the mask (H, W) in colour; class 0 and 255 stay as they are."""
    colours = palette()[mask.long()].movedim(-1, 0).float()  # (3, H, W)
    shown = (mask > 0) & (mask != 255)
    mixed = torch.where(shown, (1 - opacity) * image + opacity * colours, image.float())
    return mixed.round().to(torch.uint8)
