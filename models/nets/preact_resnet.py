"""Pre-activation ResNet for small images, of any depth 6n + 2, with stochastic depth.

He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, 2016 (arXiv:1603.05027). Stochastic depth: Huang,
Sun, Liu, Sedra, Weinberger: Deep Networks with Stochastic Depth, 2016 (arXiv:1603.09382).

- Norm and ReLU stand before each convolution, and nothing stands behind the addition: the shortcuts are a clean way
  from the first layer to the last, for images forwards and for gradients backwards.
- What differs from `resnet20` of 2015: the order inside a block, no ReLU after the addition, a last norm before the
  pooling.
- `shortcut`: `identity` takes every second pixel and appends zero channels where the shape changes; `projection` is a
  1x1 convolution there.
- `stochastic_depth` leaves out the residual part of a block, for each image by itself, with a probability that grows
  from block to block up to this value; what is kept is divided by its probability, so evaluation changes nothing.
- Parameters for 3 channels and 10 classes: 269,722 at depth 20, as many as the ResNet of 2015; 1,727,962 at 110.
- When to use: for depths from 50 on, where it trains more easily; stochastic depth where such a net overfits.
- Any image size works (the paper's is 32).
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORTCUTS = ("identity", "projection")


class PreActBlock(nn.Module):
    """norm - relu - conv 3x3 - norm - relu - conv 3x3, plus the shortcut."""

    def __init__(self, *, in_channels: int, out_channels: int, stride: int, shortcut: str, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.stride, self.extra, self.drop = stride, out_channels - in_channels, drop
        self.projection: nn.Module | None = None
        if shortcut == "projection" and (stride > 1 or self.extra):
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        active = F.relu(self.norm1(maps))
        residual = self.conv2(F.relu(self.norm2(self.conv1(active))))
        if self.projection is not None:
            kept = self.projection(active)
        else:
            kept = F.pad(maps[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return kept + dropped(residual, self.drop if self.training else 0.0)


def dropped(residual: Tensor, probability: float) -> Tensor:
    """Set whole images of (B, ...) to zero with this probability, and divide the others by that of being kept."""
    if not probability:
        return residual
    shape = (len(residual), *[1] * (residual.ndim - 1))
    kept = torch.rand(shape, device=residual.device) >= probability
    return residual * kept / (1 - probability)


class PreActResNet(nn.Module):
    """A pre-activation net of `depth` = 6n + 2 weighted layers whose first stage has `width` channels.

    `zero_init_residual` starts the last convolution of each block at zero, so that every block begins as its shortcut.
    """

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        depth: Annotated[int, "x >= 8", "x % 6 == 2"] = 20,
        width: Annotated[int, "x >= 1"] = 16,
        shortcut: Literal["identity", "projection"] = "identity",
        stochastic_depth: Annotated[float, "0 <= x < 1"] = 0.0,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            below = max(8, depth - (depth - 2) % 6)
            raise ValueError(f"depth must be 6n + 2 and at least 8 (such as {below} or {below + 6}); got {depth}")
        if shortcut not in SHORTCUTS:
            raise ValueError(f"shortcut must be one of {', '.join(SHORTCUTS)}; got {shortcut!r}")
        if not 0 <= stochastic_depth < 1:
            raise ValueError(f"stochastic_depth must be at least 0 and below 1; got {stochastic_depth}")
        if width < 1:
            raise ValueError(f"width must be at least 1; got {width}")
        blocks = (depth - 2) // 6
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.body = nn.Sequential()
        channels = width
        for stage in range(3):
            layers = nn.Sequential()
            for place in range(blocks):
                drop = stochastic_depth * (stage * blocks + place + 1) / (3 * blocks)
                stride = 2 if stage and not place else 1
                sizes = {"in_channels": channels, "out_channels": width * 2**stage}
                layers.append(PreActBlock(**sizes, stride=stride, shortcut=shortcut, drop=drop))
                channels = width * 2**stage
            self.body.append(layers)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, PreActBlock):
                    nn.init.zeros_(module.conv2.weight)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        body = [(f"stage{number + 1}", [f"body.{number}"]) for number in range(3)]
        return [("stem", ["conv"]), *body, ("norm", ["norm"]), ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        maps = self.body(self.conv(images))
        pooled = torch.mean(F.relu(self.norm(maps)), dim=(2, 3))  # (B, 4 * width)
        return self.head(pooled)
