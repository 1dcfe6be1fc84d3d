"""Residual nets for small images, of any depth 6n + 2, and their plain twins without shortcuts.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015, section 4.2 (arXiv:1512.03385).

- Three stages of n blocks with 16, 32, 64 channels; the first block of stages 2 and 3 halves the resolution.
- `shortcut="identity"` is the paper's option A: where the shape changes, every second pixel is taken and the
  new channels are zero, so shortcuts have no parameters. `projection` is option B: a 1x1 convolution and a
  norm there. `none` is the plain twin, with exactly the parameters of `identity`.
- Global average pooling: any image size works (the paper's is 32).
- Parameters for 3 channels and 10 classes: 269,722 (depth 20), 853,018 (56), 19,421,274 (1202).
- Left out: the warm-up at 0.01 that the paper uses for depth 110; that is the schedule's business.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORTCUTS = ("identity", "projection", "none")


class ZeroPadShortcut(nn.Module):
    """Option A: take every `stride`-th pixel and append zero channels; no parameters."""

    def __init__(self, *, extra_channels: int, stride: int) -> None:
        super().__init__()
        self.extra_channels = extra_channels
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C + extra_channels, H / stride, W / stride)."""
        return F.pad(images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra_channels))


class ResidualBlock(nn.Module):
    """conv 3x3 - norm - relu - conv 3x3 - norm, plus the shortcut, then relu."""

    def __init__(self, *, in_channels: int, out_channels: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module | None = None
        if shortcut == "none":
            return
        if stride == 1 and in_channels == out_channels:
            self.shortcut = nn.Identity()
        elif shortcut == "identity":
            self.shortcut = ZeroPadShortcut(extra_channels=out_channels - in_channels, stride=stride)
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        features = F.relu(self.norm1(self.conv1(images)))
        features = self.norm2(self.conv2(features))
        if self.shortcut is not None:
            features = features + self.shortcut(images)
        return F.relu(features)


class CifarResNet(nn.Module):
    """A residual net of `depth` = 6n + 2 weighted layers; with `shortcut="none"` its plain twin.

    `zero_init_residual` starts the last norm of each block at zero, so that every block begins as its
    shortcut (Goyal et al. 2017, arXiv:1706.02677, section 5.1). `width` is the channel count of the first
    stage.
    """

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        depth: Annotated[int, "x >= 8", "x % 6 == 2"] = 20,
        width: Annotated[int, "x >= 1"] = 16,
        shortcut: Literal["identity", "projection", "none"] = "identity",
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            below = max(8, depth - (depth - 2) % 6)
            raise ValueError(f"depth must be 6n + 2 and at least 8 (such as {below} or {below + 6}); got {depth}")
        if shortcut not in SHORTCUTS:
            raise ValueError(f"shortcut must be one of {', '.join(SHORTCUTS)}; got {shortcut!r}")
        if zero_init_residual and shortcut == "none":
            raise ValueError("zero_init_residual needs a shortcut: a plain net would give zeros and never learn")
        if width < 1:
            raise ValueError(f"width must be at least 1; got {width}")
        blocks = (depth - 2) // 6
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.stage1 = _stage(width, width, blocks=blocks, stride=1, shortcut=shortcut)
        self.stage2 = _stage(width, 2 * width, blocks=blocks, stride=2, shortcut=shortcut)
        self.stage3 = _stage(2 * width, 4 * width, blocks=blocks, stride=2, shortcut=shortcut)
        self.head = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if zero_init_residual and isinstance(module, ResidualBlock):
                nn.init.zeros_(module.norm2.weight)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        return [
            ("stem", ["conv", "norm"]),
            ("stage1", ["stage1"]),
            ("stage2", ["stage2"]),
            ("stage3", ["stage3"]),
            ("head", ["head"]),
        ]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        features = F.relu(self.norm(self.conv(images)))
        features = self.stage3(self.stage2(self.stage1(features)))
        pooled = torch.mean(features, dim=(2, 3))  # (B, 4 * width)
        return self.head(pooled)


def _stage(in_channels: int, out_channels: int, *, blocks: int, stride: int, shortcut: str) -> nn.Sequential:
    """Stack `blocks` residual blocks; the first one changes resolution and width."""
    first = ResidualBlock(in_channels=in_channels, out_channels=out_channels, stride=stride, shortcut=shortcut)
    rest = [
        ResidualBlock(in_channels=out_channels, out_channels=out_channels, stride=1, shortcut=shortcut)
        for _ in range(blocks - 1)
    ]
    return nn.Sequential(first, *rest)
