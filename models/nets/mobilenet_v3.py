"""MobileNet v3 small at 32 pixels: the blocks of v2 with channel attention and a smooth activation, found by search.

Howard et al.: Searching for MobileNetV3, 2019 (arXiv:1905.02244), table 2.

- Inverted residuals as in MobileNet v2: 1x1 to more channels, a depthwise 3x3 or 5x5, 1x1 back, and a shortcut.
- What differs from v2: squeeze-and-excitation inside most blocks, with a hard sigmoid; hard-swish instead of ReLU6 in
  the deeper half, where maps are small and it costs little; and the sizes of each block, which a search found for a
  phone.
- What differs from the paper's: at 32 pixels the stem and the first block keep the resolution (32 -> 16 -> 8 -> 4),
  and norms keep torch's momentum of 0.1, since a short run has few steps. `large=true` has the strides for 224 pixels
  and is then torchvision's `mobilenet_v3_small`.
- Parameters for 3 channels: 1,528,106 with 10 classes, 2,542,856 with 1,000; the same with `large`.
- When to use: as MobileNet v2, for fewer multiplications.
- Any image size works.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# One row a block: kernel, channels inside, channels, attention, hard-swish, stride at 224 pixels, stride at 32.
ROWS = (
    (3, 16, 16, True, False, 2, 1),
    (3, 72, 24, False, False, 2, 2),
    (3, 88, 24, False, False, 1, 1),
    (5, 96, 40, True, True, 2, 2),
    (5, 240, 40, True, True, 1, 1),
    (5, 240, 40, True, True, 1, 1),
    (5, 120, 48, True, True, 1, 1),
    (5, 144, 48, True, True, 1, 1),
    (5, 288, 96, True, True, 2, 2),
    (5, 576, 96, True, True, 1, 1),
    (5, 576, 96, True, True, 1, 1),
)
STAGES = (1, 3, 8, 11)  # where stages end: each one halves the resolution at its start
EPSILON = 0.001


def rounded(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and at least nine tenths of what was asked for."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def conv_norm(
    in_channels: int, out_channels: int, *, kernel: int, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, nn.Module]:
    """Make a convolution that keeps the size but for its stride, and its norm."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(out_channels, eps=EPSILON)


class SqueezeExcite(nn.Module):
    """Weigh channels by what the whole image shows (Hu et al. 2018), with a hard sigmoid."""

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        inside = rounded(channels / 4)
        self.squeeze = nn.Conv2d(channels, inside, 1)
        self.excite = nn.Conv2d(inside, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Scale maps (B, channels, H, W) by weights (B, channels, 1, 1)."""
        means = torch.mean(maps, dim=(2, 3), keepdim=True)
        return maps * F.hardsigmoid(self.excite(F.relu(self.squeeze(means))))


class Block(nn.Module):
    """1x1 to `inside` channels - depthwise - attention - 1x1 back, and the shortcut where the shape stays."""

    def __init__(
        self, *, in_channels: int, inside: int, out_channels: int, kernel: int, stride: int, se: bool, swish: bool
    ) -> None:
        super().__init__()
        active = nn.Hardswish if swish else nn.ReLU
        widen = [*conv_norm(in_channels, inside, kernel=1), active()] if inside != in_channels else []
        self.layers = nn.Sequential(
            *widen,
            *conv_norm(inside, inside, kernel=kernel, stride=stride, groups=inside),
            active(),
            SqueezeExcite(channels=inside) if se else nn.Identity(),
            *conv_norm(inside, out_channels, kernel=1),
        )
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        return maps + self.layers(maps) if self.has_shortcut else self.layers(maps)


class MobileNetV3Small(nn.Module):
    """The eleven blocks of the paper's small net; `large` has the strides for images of 224 pixels."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        dropout: Annotated[float, "0 <= x < 1"] = 0.2,
        large: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1; got {dropout}")
        channels = 16
        stem = conv_norm(in_channels, channels, kernel=3, stride=2 if large else 1)
        self.stem = nn.Sequential(*stem, nn.Hardswish())
        self.body = nn.Sequential()
        for kernel, inside, out_channels, se, swish, *strides in ROWS:
            sizes = {"in_channels": channels, "inside": inside, "out_channels": out_channels, "kernel": kernel}
            self.body.append(Block(**sizes, stride=strides[not large], se=se, swish=swish))
            channels = out_channels
        self.last = nn.Sequential(*conv_norm(channels, 6 * channels, kernel=1), nn.Hardswish())
        self.dense = nn.Linear(6 * channels, 1024)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(1024, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        starts = (0, *STAGES[:-1])
        body = [
            (f"stage{number + 1}", [f"body.{place}" for place in range(start, end)])
            for number, (start, end) in enumerate(zip(starts, STAGES, strict=True))
        ]
        return [("stem", ["stem"]), *body, ("last", ["last"]), ("dense", ["dense"]), ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        maps = self.last(self.body(self.stem(images)))
        features = F.hardswish(self.dense(torch.mean(maps, dim=(2, 3))))  # (B, 1024)
        return self.head(self.dropout(features))
