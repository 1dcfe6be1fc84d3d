"""Network in network: between two convolutions, a small dense net on the channels of each pixel.

Lin, Chen, Yan: Network In Network, 2014 (arXiv:1312.4400).

- A 1x1 convolution is a linear layer applied at every pixel. Two behind each 5x5 make the filter itself a small net.
- No dense layers: the last 1x1 makes one map a class, and the mean of the map is the logit. So there is little to
  overfit, any image size works, and the maps show where a class was seen.
- Three blocks: 5x5, 5x5 and 3x3, two 1x1 behind each; poolings of 3x3 that overlap, and dropout between the blocks.
- What differs from the authors' program: no ReLU on the last maps (a class below zero would stop learning), and
  weights start by Kaiming's rule, which needs no warm-up. The paper's norms: none.
- Parameters for 3 channels and 10 classes: 966,986.
- When to use: to learn what a 1x1 convolution is, and the mean over the image as an ending.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

# One row a block: kernel of its first convolution, maps of its three.
ROWS = ((5, 192, 160, 96), (5, 192, 192, 192), (3, 192, 192))


class NIN(nn.Module):
    """Three blocks of a convolution and two 1x1, with `width` times the paper's maps; the last makes the classes."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        width: Annotated[float, "x > 0"] = 1.0,
        dropout: Annotated[float, "0 <= x < 1"] = 0.5,
    ) -> None:
        super().__init__()
        if width <= 0:
            raise ValueError(f"width must be more than 0; got {width}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1; got {dropout}")
        pools = (nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 2, ceil_mode=True))
        self.body = nn.Sequential()
        channels = in_channels
        for number, (kernel, *maps) in enumerate(ROWS):
            block = nn.Sequential()
            for place, after in enumerate(max(1, int(each * width)) for each in maps):
                size = 1 if place else kernel
                block.extend([nn.Conv2d(channels, after, size, padding=size // 2), nn.ReLU()])
                channels = after
            if number < len(pools):
                block.extend([pools[number], nn.Dropout(dropout)])
            self.body.append(block)
        self.head = nn.Conv2d(channels, num_classes, 1)
        for module in self.body.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        body = [(f"block{number + 1}", [f"body.{number}"]) for number in range(len(self.body))]
        return [*body, ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        maps = self.head(self.body(images))  # (B, num_classes, h, w)
        return torch.mean(maps, dim=(2, 3))
