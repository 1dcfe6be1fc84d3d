"""U-Net: an encoder, a decoder, and at each size the encoder's maps beside the decoder's; one class a pixel.

O. Ronneberger, P. Fischer, T. Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015
(arXiv:1505.04597).

- Blocks of two convolutions 3x3 with ReLU; pooling 2x2 between them on the way down. On the way up: upsampling by two,
  the encoder's maps beside it, another block. At the end a convolution 1x1.
- `unet_2015` is the published one: convolutions without padding (572 -> 388 pixels), biases, no norm, transposed
  convolutions 2x2. What lies outside of the image is mirrored, as in the paper, so that every pixel gets its class.
  1 channel, 2 classes: 31,030,658 parameters.
- `unet_small` folds 2x2 pixels into channels first (space to depth), and at the end out of them, after a convolution
  1x1 to four times the channels: without it too few are left to tell the classes apart. Batch norm (Ioffe, Szegedy
  2015), padded convolutions. 1 channel, 11 classes: 266,075 parameters.
- Upsampling without weights follows a convolution 1x1 that halves the channels: it commutes with nearest and
  bilinear, and costs a quarter before them.
- Left out: dropout at the end of the encoder; the weight map of touching cells is the loss's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Sequential):
    """Two of: convolution 3x3, norm, ReLU. Without padding a map loses 4 pixels a side length."""

    def __init__(self, *, in_channels: int, out_channels: int, norm: str, padding: int) -> None:
        parts: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            conv = nn.Conv2d(channels, out_channels, 3, padding=padding, bias=norm == "none")
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")  # the paper's: deviation sqrt(2 / inputs)
            parts += [conv, *([nn.BatchNorm2d(out_channels)] if norm == "batch" else []), nn.ReLU(inplace=True)]
        super().__init__(*parts)


class Up(nn.Module):
    """Upsample by two, put the encoder's maps in front, and a block."""

    def __init__(self, *, in_channels: int, out_channels: int, upsample: str, norm: str, padding: int) -> None:
        super().__init__()
        self.upsample = upsample
        self.reduce: nn.Module = (
            nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
            if upsample == "transposed"
            else nn.Conv2d(in_channels, out_channels, 1)
        )
        self.block = Block(in_channels=2 * out_channels, out_channels=out_channels, norm=norm, padding=padding)

    def forward(self, features: Tensor, skip: Tensor, places: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) and the encoder's (B, out_channels, >= 2h, >= 2w) to (B, out_channels, 2h, 2w).

        Args:
            features: of the level below.
            skip: the encoder's maps, of which the middle is taken.
            places: where the maxima of `skip` were; read by max unpooling alone.
        """
        features = self.reduce(features)
        if self.upsample == "nearest":
            features = F.interpolate(features, scale_factor=2, mode="nearest")
        elif self.upsample == "bilinear":
            features = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        elif self.upsample == "bed_of_nails":
            features = bed_of_nails(features)
        elif self.upsample == "max_unpool":
            features = max_unpool(features, places)
        height, width = features.shape[-2:]
        top, left = (skip.shape[-2] - height) // 2, (skip.shape[-1] - width) // 2
        return self.block(torch.cat((skip[..., top : top + height, left : left + width], features), dim=1))


class UNet(nn.Module):
    """A level of maps for each entry of `widths`, each half as large as the one above.

    `patch` is the side of the squares of pixels that the first convolution sees as channels. `padding="valid"` has no
    padded convolutions, which leaves max unpooling no places to put its values.
    """

    image_sizes: tuple[int, ...] | None = None
    output = "dense"

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        widths: Annotated[Sequence[Annotated[int, "x >= 1"]], "len(x) >= 2"] = (24, 48, 96),
        patch: Literal[1, 2, 4] = 2,
        upsample: Literal["nearest", "bed_of_nails", "max_unpool", "transposed", "bilinear"] = "transposed",
        norm: Literal["batch", "none"] = "batch",
        padding: Literal["same", "valid"] = "same",
    ) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(f"widths need 2 levels or more, and at least 1 channel each; got {list(widths)}")
        if upsample == "max_unpool" and padding == "valid":
            raise ValueError("upsample=max_unpool needs padding=same: valid convolutions move the places of the maxima")
        self.patch = patch
        self.upsample = upsample
        self.valid = padding == "valid"
        self.levels = len(widths) - 1
        rim = 0 if self.valid else 1
        channels = in_channels * patch**2
        self.encoder = nn.ModuleList()
        for width in widths:
            self.encoder.append(Block(in_channels=channels, out_channels=width, norm=norm, padding=rim))
            channels = width
        self.decoder = nn.ModuleList()
        for width in reversed(widths[:-1]):
            up = Up(in_channels=channels, out_channels=width, upsample=upsample, norm=norm, padding=rim)
            self.decoder.append(up)
            channels = width
        self.unfold: nn.Module = nn.Identity() if patch == 1 else nn.Conv2d(channels, channels * patch**2, 1)
        self.head = nn.Conv2d(channels, num_classes, 1)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        encoder = [(f"encoder{level + 1}", [f"encoder.{level}"]) for level in range(len(self.encoder))]
        decoder = [(f"decoder{level + 1}", [f"decoder.{level}"]) for level in range(len(self.decoder))]
        decoder[-1][1].append("unfold")
        return [*encoder, *decoder, ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes, H, W), of any size; the missing rim is mirrored."""
        height, width = images.shape[-2:]
        images = mirrored(images, dim=2, rim=self.rim(height))
        images = mirrored(images, dim=3, rim=self.rim(width))
        return self.unpadded(images)[..., :height, :width]

    def rim(self, pixels: int) -> tuple[int, int]:
        """How many pixels a side of `pixels` lacks in front and behind."""
        grid, step = -(-pixels // self.patch), 2**self.levels
        if not self.valid:
            return 0, -(-grid // step) * step * self.patch - pixels
        # Each level of the decoder maps n to 2n - 4 pixels, each of the encoder 2n + 4 to n, and the lowest n + 4 to n.
        lost = 4 * (step - 1)
        lowest = -(-(grid + lost) // step)
        whole, seen = step * (lowest + 4) + lost, step * lowest - lost
        front = (whole - seen) // 2 * self.patch
        return front, whole * self.patch - pixels - front

    def unpadded(self, images: Tensor) -> Tensor:
        """Map images of a size that fits to logits as they come: with `unet_2015` 572 x 572 pixels give 388 x 388."""
        features = F.pixel_unshuffle(images, self.patch)
        skips: list[tuple[Tensor, Tensor]] = []
        for level, block in enumerate(self.encoder):
            features = block(features)
            if level < self.levels:
                skip = features
                features, places = F.max_pool2d(skip, 2, return_indices=True)
                skips.append((skip, places))
        for up, (skip, places) in zip(self.decoder, reversed(skips), strict=True):
            features = up(features, skip, places)
        return self.head(F.pixel_shuffle(self.unfold(features), self.patch))


def mirrored(images: Tensor, *, dim: int, rim: tuple[int, int]) -> Tensor:
    """Lengthen a dimension by `rim` in front and behind, mirrored at its first and last pixel, again and again.

    As numpy's `pad(mode="reflect")`; torch's own stops at the length of the side.
    """
    if rim == (0, 0):
        return images
    length = images.shape[dim]
    places = torch.arange(-rim[0], length + rim[1], device=images.device)
    period = max(1, 2 * (length - 1))
    places = places.remainder(period)
    return images.index_select(dim, torch.minimum(places, (period - places) % period))


def bed_of_nails(features: Tensor) -> Tensor:
    """Map (B, C, h, w) to (B, C, 2h, 2w): each value top left in its square of zeros."""
    rows = torch.stack((features, torch.zeros_like(features)), dim=-1).flatten(-2)  # (B, C, h, 2w)
    return torch.stack((rows, torch.zeros_like(rows)), dim=-2).flatten(-3, -2)


def max_unpool(features: Tensor, places: Tensor) -> Tensor:
    """Map (B, C, h, w) to (B, C, 2h, 2w): each value where the maximum of its square was, beside zeros.

    Args:
        features: what is laid out.
        places: int64 (B, C, h, w) as `max_pool2d` returns them, counted within a map.
    """
    height, width = features.shape[-2:]
    empty = features.new_zeros(*features.shape[:2], 4 * height * width)
    return empty.scatter(2, places.flatten(2), features.flatten(2)).unflatten(2, (2 * height, 2 * width))
