"""AlexNet as published in 2012: the net that made deep learning of large images the rule.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, 2012.

- Five convolutions and three dense layers on images of 227 pixels; ReLU, which learns several times faster than tanh;
  dropout in the dense layers; poolings of 3x3 that overlap.
- Local response normalisation behind the first two: a unit is divided by the squares of its neighbours in five maps.
  torch divides alpha by that number, so the paper's 1e-4 is 5e-4 here. It helps very little; batch norm took its
  place.
- `groups=2`: convolutions 2, 4 and 5 see half of the maps each, since the net did not fit one graphics card of 2012.
- What differs from torchvision's `alexnet` (of 2014): 96-256-384-384-256 maps instead of 64-192-384-256-256, the
  norms, and the padding (224 pixels there; the paper says 224 and computes with 227).
- Parameters for 3 channels and 1,000 classes: 62,378,344; 60,965,224 with two groups. Nine tenths are in dense
  layers.
- When to use: to see where it began. It is too large for a CPU; `alexnet_tiny` shows the form in 38,138.
- Left out: the paper's start (normal of 0.01, biases of 1 in some layers), which needs its schedule to get going.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 227


class AlexNet2012(nn.Module):
    """AlexNet for 227-pixel images: `widths` maps of the five convolutions, `dense_width` units of two dense layers."""

    image_sizes: tuple[int, ...] | None = (227,)

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        groups: Literal[1, 2] = 1,
        widths: Annotated[tuple[Annotated[int, "x >= 1"], ...], "len(x) == 5"] = (96, 256, 384, 384, 256),
        dense_width: Annotated[int, "x >= 1"] = 4096,
        dropout: Annotated[float, "0 <= x < 1"] = 0.5,
    ) -> None:
        super().__init__()
        if image_size != SIZE:
            raise ValueError(f"AlexNet takes images of {SIZE} pixels; got image_size {image_size}")
        if len(widths) != 5 or min((*widths, dense_width)) < 1:
            raise ValueError(f"widths must be five, and at least 1 each; got {list(widths)} and {dense_width}")
        if groups not in (1, 2) or any(width % groups for width in widths):
            raise ValueError(f"groups must be 1 or 2 and divide the widths; got {groups} and {list(widths)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1; got {dropout}")
        one, two, three, four, five = widths
        self.conv1 = nn.Conv2d(in_channels, one, 11, stride=4)
        self.conv2 = nn.Conv2d(one, two, 5, padding=2, groups=groups)
        self.conv3 = nn.Conv2d(two, three, 3, padding=1)  # sees all maps in both forms
        self.conv4 = nn.Conv2d(three, four, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(four, five, 3, padding=1, groups=groups)
        self.dense1 = nn.Linear(five * 6 * 6, dense_width)
        self.dense2 = nn.Linear(dense_width, dense_width)
        self.head = nn.Linear(dense_width, num_classes)
        self.response_norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        self.pool = nn.MaxPool2d(3, 2)
        self.dropout = nn.Dropout(dropout)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        names = [*(f"conv{number}" for number in range(1, 6)), "dense1", "dense2", "head"]
        return [(name, [name]) for name in names]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, 227, 227) to logits (B, num_classes); ValueError for another size."""
        height, width = images.shape[-2:]
        if (height, width) != (SIZE, SIZE):
            raise ValueError(f"this net takes {SIZE}x{SIZE} images, got {height}x{width}: set data.image_size={SIZE}")
        maps = self.pool(self.response_norm(F.relu(self.conv1(images))))  # (B, 96, 27, 27)
        maps = self.pool(self.response_norm(F.relu(self.conv2(maps))))  # (B, 256, 13, 13)
        maps = F.relu(self.conv4(F.relu(self.conv3(maps))))  # (B, 384, 13, 13)
        maps = self.pool(F.relu(self.conv5(maps)))  # (B, 256, 6, 6)
        features = F.relu(self.dense1(self.dropout(maps.flatten(1))))
        features = F.relu(self.dense2(self.dropout(features)))
        return self.head(features)
