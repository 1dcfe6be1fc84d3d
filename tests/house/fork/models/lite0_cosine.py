"""EfficientNet-Lite0 as timm has it, under a head of our own."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class Cosine(nn.Module):
    """Features (B, F) -> logits (B, num_classes): `scale` times the cosine of features and a vector a class."""

    def __init__(self, *, num_features: int, num_classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.directions = nn.Parameter(torch.randn(num_classes, num_features))

    def forward(self, features: Tensor) -> Tensor:
        """Compare with each direction."""
        return self.scale * linear(normalize(features), normalize(self.directions))


class Lite0Cosine(nn.Module):
    """timm's `tf_efficientnet_lite0` without its classifier, then cosines."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(self, *, num_classes: int, in_channels: int, scale: Annotated[float, "x > 0"] = 16.0) -> None:
        super().__init__()
        from timm import create_model

        self.body = create_model("tf_efficientnet_lite0", in_chans=in_channels, num_classes=0)
        self.head = Cosine(num_features=self.body.num_features, num_classes=num_classes, scale=scale)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output."""
        blocks = [(f"block{number}", [f"body.blocks.{number}"]) for number in range(len(self.body.blocks))]
        ends = ("stem", ["body.conv_stem", "body.bn1"]), ("neck", ["body.conv_head", "body.bn2"])
        return [ends[0], *blocks, ends[1], ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.head(self.body(images))
