"""SE-ResNet: residual nets in which each block weighs its channels by what the whole image shows.

Hu, Shen, Albanie, Sun, Wu: Squeeze-and-Excitation Networks, 2018 (arXiv:1709.01507).

- Squeeze: the mean of each channel. Excitation: two dense layers and a sigmoid make a weight in (0, 1) a channel.
  Scale: each channel times its weight, before the shortcut is added. A convolution sees a window; this sees the
  image.
- What differs from ResNet is `SqueezeExcite` alone, and it may stand in any net: with weights of zero each is a half.
- `se_resnet20` is for small images: three stages of three basic blocks, 16, 32, 64 channels. `se_resnet50` is for 224
  pixels: a 7x7 stem with pooling, and 3, 4, 6, 3 bottleneck blocks whose stride is in the 3x3 convolution.
- Parameters: 274,847 (se_resnet20, 3 channels, 10 classes), 28,088,024 (se_resnet50, 1,000 classes): 2,530,992 more
  than ResNet-50, and under 1 % more computation.
- When to use: wherever a ResNet is, for a little more accuracy at hardly more computation.
- Any image size works.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4  # a bottleneck's channels, in multiples of those inside


class SqueezeExcite(nn.Module):
    """Weigh channels: mean over the image - linear to 1/ratio - relu - linear - sigmoid."""

    def __init__(self, *, channels: int, ratio: int) -> None:
        super().__init__()
        inside = max(1, channels // ratio)
        self.squeeze = nn.Conv2d(channels, inside, 1)
        self.excite = nn.Conv2d(inside, channels, 1)
        # Behind a norm the means of a batch sum to zero: without a bias each unit starts alive for some image.
        nn.init.zeros_(self.squeeze.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        """Scale maps (B, channels, H, W) by weights (B, channels, 1, 1)."""
        means = torch.mean(maps, dim=(2, 3), keepdim=True)
        return maps * torch.sigmoid(self.excite(F.relu(self.squeeze(means))))


class Block(nn.Module):
    """Convolutions with norms, channels weighed, plus the shortcut, then relu.

    Basic: two 3x3. Bottleneck: 1x1 to a quarter of the channels, 3x3, 1x1 back.
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int, bottleneck: bool, ratio: int) -> None:
        super().__init__()
        inside = out_channels // EXPANSION
        layers = [(in_channels, out_channels, 3, stride), (out_channels, out_channels, 3, 1)]
        if bottleneck:
            layers = [(in_channels, inside, 1, 1), (inside, inside, 3, stride), (inside, out_channels, 1, 1)]
        parts: list[nn.Module] = []
        for before, after, kernel, step in layers:
            parts += [nn.ReLU()] if parts else []
            parts.append(nn.Conv2d(before, after, kernel, stride=step, padding=kernel // 2, bias=False))
            parts.append(nn.BatchNorm2d(after))
        self.layers = nn.Sequential(*parts)
        self.se = SqueezeExcite(channels=out_channels, ratio=ratio)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        return F.relu(self.se(self.layers(maps)) + self.shortcut(maps))


class SEResNet(nn.Module):
    """`blocks` residual blocks a stage, the first stage of `width` channels inside, doubled in each next one.

    `ratio` is by how much squeezing narrows; `large` takes the stem for large images and bottleneck blocks.
    """

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        blocks: Annotated[tuple[Annotated[int, "x >= 1"], ...], "len(x) >= 1"] = (3, 3, 3),
        width: Annotated[int, "x >= 1"] = 16,
        ratio: Annotated[int, "x >= 1"] = 16,
        large: bool = False,
    ) -> None:
        super().__init__()
        if not blocks or min((*blocks, width, ratio)) < 1:
            raise ValueError(f"blocks, width and ratio must be at least 1; got {list(blocks)}, {width}, {ratio}")
        kernel, stride = (7, 2) if large else (3, 1)
        self.conv = nn.Conv2d(in_channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if large else nn.Identity()
        self.body = nn.Sequential()
        channels = width
        for number, count in enumerate(blocks):
            out_channels = width * 2**number * (EXPANSION if large else 1)
            stage = nn.Sequential()
            for place in range(count):
                stride = 2 if number and not place else 1
                stage.append(
                    Block(in_channels=channels, out_channels=out_channels, stride=stride, bottleneck=large, ratio=ratio)
                )
                channels = out_channels
            self.body.append(stage)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        body = [(f"stage{number + 1}", [f"body.{number}"]) for number in range(len(self.body))]
        return [("stem", ["conv", "norm"]), *body, ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        maps = self.body(self.pool(F.relu(self.norm(self.conv(images)))))
        return self.head(torch.mean(maps, dim=(2, 3)))
