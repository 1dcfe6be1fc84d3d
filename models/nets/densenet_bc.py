"""DenseNet-BC for small images: every layer sees the maps of all layers before it.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, 2017 (arXiv:1608.06993).

- A layer adds `growth` maps to what it was given, so features are used again and not learnt again, and each layer has
  a short way to the loss. Few maps a layer are enough: a net has few parameters for its depth.
- B, `bottleneck`: a 1x1 convolution to 4 growth maps stands before each 3x3. C, `compression`: the 1x1 convolution
  between two blocks keeps this share of the maps. Without both it is the plain DenseNet.
- What differs from a ResNet: maps are put side by side instead of added up, and norm and ReLU come first.
- Three blocks; with `depth` = 3 n s + 4, where s is 2 with bottleneck and 1 without, each has n layers.
- Global average pooling: any image size works (the paper's is 32).
- Parameters for 3 channels and 10 classes: 176,122 (depth 40, growth 12), 769,162 (100, 12), 15,324,406 (250, 24),
  25,624,430 (190, 40); plain 1,019,722 (40, 12) and 27,249,082 (100, 24).
- When to use: best accuracy for few parameters. It needs much memory and time for them: at depth 100 take a GPU.
- Left out: the dropout of 0.2 that the paper uses without augmentation.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = 3
WIDENING = 4  # maps of a bottleneck, in multiples of the growth


class DenseLayer(nn.Module):
    """norm - relu - conv 1x1 - norm - relu - conv 3x3, put beside the input; without bottleneck the second half."""

    def __init__(self, *, in_channels: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        self.bottleneck: nn.Module = nn.Identity()
        if bottleneck:
            self.bottleneck = nn.Sequential(
                nn.BatchNorm2d(in_channels),
                nn.ReLU(),
                nn.Conv2d(in_channels, WIDENING * growth, 1, bias=False),
            )
            in_channels = WIDENING * growth
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, growth, 3, padding=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, in_channels + growth, H, W)."""
        new = self.conv(F.relu(self.norm(self.bottleneck(maps))))
        return torch.cat((maps, new), dim=1)


class Transition(nn.Module):
    """norm - relu - conv 1x1 - average pooling: fewer maps of half the size."""

    def __init__(self, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H // 2, W // 2)."""
        return F.avg_pool2d(self.conv(F.relu(self.norm(maps))), 2)


class DenseNet(nn.Module):
    """A densely connected net of `depth` weighted layers, each of which adds `growth` maps."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        depth: Annotated[int, "x >= 7", "x % 3 == 1"] = 40,
        growth: Annotated[int, "x >= 1"] = 12,
        bottleneck: bool = True,
        compression: Annotated[float, "0 < x <= 1"] = 0.5,
    ) -> None:
        super().__init__()
        step = BLOCKS * (2 if bottleneck else 1)
        if depth < step + 4 or (depth - 4) % step:
            below = max(step + 4, depth - (depth - 4) % step)
            raise ValueError(
                f"depth must be {step}n + 4 {'with' if bottleneck else 'without'} bottleneck "
                f"(such as {below} or {below + step}); got {depth}"
            )
        if growth < 1:
            raise ValueError(f"growth must be at least 1; got {growth}")
        if not 0 < compression <= 1:
            raise ValueError(f"compression must be above 0 and at most 1; got {compression}")
        channels = 2 * growth if bottleneck else 16
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.blocks = nn.Sequential()
        for block in range(BLOCKS):
            layers = nn.Sequential()
            if block:
                fewer = max(1, int(channels * compression))
                layers.append(Transition(in_channels=channels, out_channels=fewer))
                channels = fewer
            for _ in range((depth - 4) // step):
                layers.append(DenseLayer(in_channels=channels, growth=growth, bottleneck=bottleneck))
                channels += growth
            self.blocks.append(layers)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        blocks = [(f"block{block + 1}", [f"blocks.{block}"]) for block in range(BLOCKS)]
        return [("stem", ["conv"]), *blocks, ("norm", ["norm"]), ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        maps = self.blocks(self.conv(images))
        pooled = torch.mean(F.relu(self.norm(maps)), dim=(2, 3))  # (B, channels)
        return self.head(pooled)
