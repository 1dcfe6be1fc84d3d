"""Highway net: each layer learns for itself how much of its input to pass on as it is.

Srivastava, Greff, Schmidhuber: Training Very Deep Networks, 2015 (arXiv:1507.06228).

- A layer computes H(x) and a gate T(x) between 0 and 1, and gives T(x) H(x) + (1 - T(x)) x. With the gate shut it is
  the identity, with the gate open a plain layer.
- The gate's bias starts below zero (`gate_bias`), so that a deep net begins as a short one, and learns.
- What differs from a ResNet, which came months later: there the input is always added whole, and nothing is learnt
  about it. A gate doubles a layer's weights.
- Three stages of `layers` highway layers on `width`, twice and four times as many maps; a plain convolution before
  each stage changes the number, and pooling between them halves the size.
- Parameters for 3 channels and 10 classes: 315,210 with the usual `layers` 3 and `width` 16.
- When to use: to learn how gates let depth grow. A ResNet is as good and half as large.
- Any image size works. Left out: the paper's nets of dense layers.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HighwayLayer(nn.Module):
    """gate * relu(conv 3x3) + (1 - gate) * input, the gate a sigmoid of another 3x3 convolution."""

    def __init__(self, *, channels: int, gate_bias: float) -> None:
        super().__init__()
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)
        self.plain = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.constant_(self.gate.bias, gate_bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        gate = torch.sigmoid(self.gate(maps))
        return gate * F.relu(self.plain(maps)) + (1 - gate) * maps


class Highway(nn.Module):
    """Three stages of a plain convolution and `layers` highway layers, the first stage of `width` maps."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        layers: Annotated[int, "x >= 1"] = 3,
        width: Annotated[int, "x >= 1"] = 16,
        gate_bias: float = -2.0,
    ) -> None:
        super().__init__()
        if min(layers, width) < 1:
            raise ValueError(f"layers and width must be at least 1; got {layers} and {width}")
        self.body = nn.Sequential()
        channels = in_channels
        for number in range(3):
            stage = nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)) if number else nn.Sequential()
            stage.extend([nn.Conv2d(channels, width * 2**number, 3, padding=1), nn.ReLU()])
            channels = width * 2**number
            stage.extend([HighwayLayer(channels=channels, gate_bias=gate_bias) for _ in range(layers)])
            self.body.append(stage)
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        body = [(f"stage{number + 1}", [f"body.{number}"]) for number in range(len(self.body))]
        return [*body, ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.head(torch.mean(self.body(images), dim=(2, 3)))
