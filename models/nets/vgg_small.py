"""A small VGG family for 32 pixels: nothing but 3x3 convolutions, stacked.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015 (arXiv:1409.1556), table
1.

- Two 3x3 convolutions see as far as one 5x5 and three as far as a 7x7, with fewer weights and more ReLUs between.
- Five stages; each pooling halves the resolution and the next stage has twice the maps, until eight times the first.
- What differs from the paper's: a quarter of the maps (`width` 16 instead of 64), batch norm behind each convolution
  (`norm=none` is the paper's), dense layers of `32 * width` units behind the mean over the image, so any size works;
  and pooling rounds up, so that 28 pixels become 14, 7, 4, 2, 1.
- Parameters for 3 channels and 10 classes: 911,642 (11), 923,258 (13), 1,255,674 (16), 1,588,090 (19).
- When to use: as a plain net whose depth is the only thing that changes, against which residual nets are measured.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

# Convolutions in each of the five stages; two dense layers and the head make up the depth.
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
NORMS = ("batch", "none")


class VGG(nn.Module):
    """A VGG net of `depth` weighted layers whose first stage has `width` maps."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        depth: Literal[11, 13, 16, 19] = 11,
        width: Annotated[int, "x >= 1"] = 16,
        norm: Literal["batch", "none"] = "batch",
        dropout: Annotated[float, "0 <= x < 1"] = 0.5,
    ) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            raise ValueError(f"depth must be one of {', '.join(map(str, CONVOLUTIONS))}; got {depth}")
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}; got {norm!r}")
        if width < 1:
            raise ValueError(f"width must be at least 1; got {width}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1; got {dropout}")
        self.body = nn.Sequential()
        channels = in_channels
        for number, count in enumerate(CONVOLUTIONS[depth]):
            stage = nn.Sequential()
            for _ in range(count):
                after = width * min(2**number, 8)
                stage.append(nn.Conv2d(channels, after, 3, padding=1, bias=norm == "none"))
                if norm == "batch":
                    stage.append(nn.BatchNorm2d(after))
                stage.append(nn.ReLU())
                channels = after
            stage.append(nn.MaxPool2d(2, ceil_mode=True))
            self.body.append(stage)
        dense = 32 * width
        self.dense1 = nn.Sequential(nn.Linear(channels, dense), nn.ReLU(), nn.Dropout(dropout))
        self.dense2 = nn.Sequential(nn.Linear(dense, dense), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(dense, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        body = [(f"stage{number + 1}", [f"body.{number}"]) for number in range(len(self.body))]
        return [*body, ("dense1", ["dense1"]), ("dense2", ["dense2"]), ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        features = torch.mean(self.body(images), dim=(2, 3))  # (B, 8 * width)
        return self.head(self.dense2(self.dense1(features)))
