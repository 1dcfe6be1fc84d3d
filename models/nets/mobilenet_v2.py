"""MobileNet v2 at 32 pixels: narrow maps between blocks, wide and cheap ones inside.

Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018
(arXiv:1801.04381).

- A 3x3 convolution over all channels is split in two: one filter a channel (depthwise), then a 1x1 convolution that
  mixes channels. That is about a ninth of the multiplications.
- A block widens by `expand`, filters depthwise, and narrows again. The shortcut joins the narrow ends (an "inverted"
  residual), and no activation stands there (a "linear" bottleneck): ReLU would destroy what few channels hold.
- ReLU6 is cut at 6, which is good for 8-bit numbers.
- What differs from the paper's: at 32 pixels the stem and the second stage keep the resolution (32 -> 16 -> 8 -> 4),
  and channels are halved (`width`). `width=1 large=true` is the paper's net for 224 pixels and torchvision's
  `mobilenet_v2`.
- Parameters for 10 classes and 3 channels: 590,410; of the large one, 1,000 classes, 3,504,872.
- When to use: where multiplications or memory are scarce, as on a phone. On a CPU depthwise filters are slower than
  their multiplications say.
- Any image size works.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

# One row a stage: widening inside, channels, blocks, stride at 224 pixels, stride at 32.
ROWS = (
    (1, 16, 1, 1, 1),
    (6, 24, 2, 2, 1),
    (6, 32, 3, 2, 2),
    (6, 64, 4, 2, 2),
    (6, 96, 3, 1, 1),
    (6, 160, 3, 2, 2),
    (6, 320, 1, 1, 1),
)


def rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and at least nine tenths of what was asked for."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def conv_norm(
    in_channels: int, out_channels: int, *, kernel: int, stride: int = 1, groups: int = 1, active: bool = True
) -> list[nn.Module]:
    """Make conv - norm - relu6, the last one only if `active`."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out_channels), *([nn.ReLU6()] if active else [])]


class InvertedResidual(nn.Module):
    """1x1 to `expand` times the channels - 3x3 depthwise - 1x1 back, and the shortcut where the shape stays."""

    def __init__(self, *, in_channels: int, out_channels: int, stride: int, expand: int) -> None:
        super().__init__()
        inside = in_channels * expand
        widen = conv_norm(in_channels, inside, kernel=1) if expand > 1 else []
        self.layers = nn.Sequential(
            *widen,
            *conv_norm(inside, inside, kernel=3, stride=stride, groups=inside),
            *conv_norm(inside, out_channels, kernel=1, active=False),
        )
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        return maps + self.layers(maps) if self.has_shortcut else self.layers(maps)


class MobileNetV2(nn.Module):
    """Seven stages of inverted residuals with `width` times the paper's channels; `large` for images of 224 pixels."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        width: Annotated[float, "x > 0"] = 0.5,
        dropout: Annotated[float, "0 <= x < 1"] = 0.2,
        large: bool = False,
    ) -> None:
        super().__init__()
        if width <= 0:
            raise ValueError(f"width must be more than 0; got {width}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1; got {dropout}")
        channels = rounded(32 * width)
        self.stem = nn.Sequential(*conv_norm(in_channels, channels, kernel=3, stride=2 if large else 1))
        self.body = nn.Sequential()
        for expand, out_channels, blocks, *strides in ROWS:
            stage = nn.Sequential()
            for place in range(blocks):
                after, stride = rounded(out_channels * width), 1 if place else strides[not large]
                stage.append(InvertedResidual(in_channels=channels, out_channels=after, stride=stride, expand=expand))
                channels = after
            self.body.append(stage)
        features = rounded(1280 * max(1.0, width)) if large else rounded(1280 * width)
        self.last = nn.Sequential(*conv_norm(channels, features, kernel=1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        body = [(f"stage{number + 1}", [f"body.{number}"]) for number in range(len(self.body))]
        return [("stem", ["stem"]), *body, ("last", ["last"]), ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        maps = self.last(self.body(self.stem(images)))
        return self.head(self.dropout(torch.mean(maps, dim=(2, 3))))
