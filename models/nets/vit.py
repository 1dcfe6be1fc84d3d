"""A small vision transformer: an image as a row of patches, each of which asks all others what it needs.

Dosovitskiy et al.: An Image is Worth 16x16 Words, 2021 (arXiv:2010.11929).

- The image is cut into squares of `patch` pixels; each becomes a token of `width` numbers by one linear map. A class
  token stands in front, and learnt positions are added: attention alone does not know where a token comes from.
- A block mixes tokens (self-attention), then works on each alone (two dense layers with GELU); norms come first, and
  both parts are added to what they were given. The logits are read from the class token.
- What differs from a convolutional net: nothing tells it that neighbours belong together, so it needs more images,
  more augmentation or pretrained weights. Its image size is fixed by its positions.
- Names and computation are those of timm's `vit_*`, whose weights fit by their order (`width=192 depth=12 heads=3
  patch=16` is Ti/16).
- Parameters: p^2 C d + d + d + t d + L (12 d^2 + 13 d) + 2 d + d K + K with t tokens. For 32x32x3 and 10 classes
  308,042 (width 64, depth 6); 4,028,170 (192, 9); 5,362,762 (192, 12); 28x28x1 (64, 6) 305,034.
- When to use: to learn how attention works, and to start from pretrained weights. Of few images a ResNet learns more.
- Left out: dropout, which the paper uses on ImageNet.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6


class Attention(nn.Module):
    """Each token asks all tokens (query . key), and takes in the mean of their values by the answers' softmax."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T, width) to (B, T, width)."""
        queries, keys, values = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(queries, keys, values)  # (B, heads, T, width / heads)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two dense layers with GELU between them, the inner one four times as wide."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T, width) to (B, T, width)."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """norm - attention, added; norm - dense layers, added."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = Attention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Mlp(width=width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T, width) to (B, T, width)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class Embedding(nn.Module):
    """Patches as tokens, the class token before them, positions added."""

    def __init__(self, *, in_channels: int, image_size: int, patch: int, width: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch) ** 2, width))
        self.proj = nn.Conv2d(in_channels, width, patch, stride=patch)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to tokens (B, 1 + patches, width)."""
        patches = self.proj(images).flatten(2).transpose(1, 2)
        first = self.cls_token.expand(patches.shape[0], -1, -1)
        return torch.cat((first, patches), dim=1) + self.pos_embed


class VisionTransformer(nn.Module):
    """`depth` transformer blocks of `width` numbers a token and `heads` heads, on squares of `patch` pixels."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        patch: Annotated[int, "x >= 1"] = 4,
        width: Annotated[int, "x >= 1"] = 64,
        depth: Annotated[int, "x >= 1"] = 6,
        heads: Annotated[int, "x >= 1"] = 4,
    ) -> None:
        super().__init__()
        if min(patch, width, depth, heads) < 1:
            raise ValueError(
                f"patch, width, depth and heads must be at least 1; got {patch}, {width}, {depth}, {heads}"
            )
        if image_size % patch:
            raise ValueError(f"patch must divide the image size; got patch {patch} and image_size {image_size}")
        if width % heads:
            raise ValueError(f"heads must divide the width; got heads {heads} and width {width}")
        self.image_size = image_size
        self.embedding = Embedding(in_channels=in_channels, image_size=image_size, patch=patch, width=width)
        self.blocks = nn.Sequential(*[Block(width=width, heads=heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.head = nn.Linear(width, num_classes)
        for module in (*self.blocks.modules(), self.head):
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        blocks = [(f"block{number + 1}", [f"blocks.{number}"]) for number in range(len(self.blocks))]
        return [("stem", ["embedding"]), *blocks, ("norm", ["norm"]), ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes); ValueError for a size it was not built for."""
        height, width = images.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise ValueError(
                f"this net was built for {self.image_size}x{self.image_size} images, got {height}x{width}: "
                f"build it with image_size={height} or resize the images"
            )
        return self.head(self.norm(self.blocks(self.embedding(images)))[:, 0])
