"""A small convolutional net that learns within a few epochs, in the manner of airbench.

Keller Jordan: 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024 (arXiv:2404.00498).

- The first layer whitens: 2x2 patches are projected on the eigenvectors of their covariance over training images,
  each divided by its standard deviation, and on their negatives. `fit_images` finds them; they are a buffer, so no
  optimiser moves them and a checkpoint holds them. Its bias trains.
- Three groups of conv 3x3 - pool - norm - GELU - conv 3x3 - norm - GELU. Norms forget fast (momentum 0.4), since a
  run has a few hundred steps.
- Each convolution starts by handing on what it is given (Dirac), its further filters at random.
- What is left is reduced to its maximum, and the head's logits are scaled down by nine.
- Any image size from 2 pixels on; 28 becomes 27, 13, 6, 3. A map of one pixel is not pooled any more.
- Parameters for 1 channel, 10 classes and widths 64, 256, 256: 1,963,272; 32, 128, 128: 493,192; 16, 64, 64: 124,488.
- Left out: what is about the training (label smoothing, schedule, views at test) is the experiment's business; norms
  have a scale that trains; the optimiser has one learning rate for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 2
MOST_IMAGES = 5000
EPSILON = 5e-4
"""Added to the variances of normalised pixels: directions in which patches hardly differ are not blown up."""
MOMENTUM = 0.4


class Whitening(nn.Module):
    """Map images (B, C, H, W) to whitened patches (B, 8 C, H - 1, W - 1), the second half the first one's negative.

    Until it is fitted it gives the pixels of each patch.
    """

    weight: Tensor

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        pixels = torch.eye(channels * PATCH**2)
        self.register_buffer("weight", torch.cat((pixels, -pixels)).view(-1, channels, PATCH, PATCH))
        self.bias = nn.Parameter(torch.zeros(2 * len(pixels)))

    def forward(self, images: Tensor) -> Tensor:
        """Whiten float images."""
        return F.conv2d(images, self.weight, self.bias)

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Take mean and covariance of the patches of the first `MOST_IMAGES` images, in double precision.

        Args:
            batches: training images, float (B, C, H, W) normalised.

        Raises:
            ValueError: there is no patch.
        """
        features = len(self.weight) // 2
        total = torch.zeros(features, dtype=torch.float64)
        squares = torch.zeros(features, features, dtype=torch.float64)
        images, count = 0, 0
        for batch in batches:
            patches = F.unfold(batch[: MOST_IMAGES - images].double().cpu(), PATCH)  # (B, features, places)
            patches = patches.transpose(0, 1).flatten(1)  # (features, B places)
            images, count = images + len(batch), count + patches.shape[1]
            total += patches.sum(dim=1)
            squares += patches @ patches.T
            if images >= MOST_IMAGES:
                break
        if not count:
            raise ValueError(f"whitening needs patches of {PATCH}x{PATCH} pixels; got none from {images} images")
        mean = total / count
        values, vectors = torch.linalg.eigh(squares / count - torch.outer(mean, mean))
        filters = vectors.T / (values.clamp_min(0) + EPSILON).sqrt()[:, None]  # (features, features), a row a filter
        offset = -filters @ mean
        self.weight.copy_(torch.cat((filters, -filters)).view_as(self.weight))
        self.bias.copy_(torch.cat((offset, -offset)))


class Group(nn.Module):
    """conv 3x3 - pool - norm - GELU - conv 3x3 - norm - GELU."""

    def __init__(self, *, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels, momentum=MOMENTUM)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels, momentum=MOMENTUM)
        for conv in (self.conv1, self.conv2):
            nn.init.dirac_(conv.weight[: conv.in_channels])

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H // 2, W // 2)."""
        features = self.conv1(images)
        if min(features.shape[-2:]) > 1:
            features = F.max_pool2d(features, 2)
        features = F.gelu(self.norm1(features))
        return F.gelu(self.norm2(self.conv2(features)))


class Airbench(nn.Module):
    """Whitening, three groups of `widths` channels, the maximum of each channel, and a head scaled by `head_scale`."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        widths: Annotated[Sequence[Annotated[int, "x >= 1"]], "len(x) == 3"] = (64, 256, 256),
        head_scale: Annotated[float, "x > 0"] = 1 / 9,
    ) -> None:
        super().__init__()
        if len(widths) != 3 or min(widths) < 1:
            raise ValueError(f"widths must be three numbers of channels, each at least 1; got {list(widths)}")
        if head_scale <= 0:
            raise ValueError(f"head_scale must be more than 0; got {head_scale}")
        self.head_scale = head_scale
        self.whitening = Whitening(channels=in_channels)
        self.group1 = Group(in_channels=len(self.whitening.weight), out_channels=widths[0])
        self.group2 = Group(in_channels=widths[0], out_channels=widths[1])
        self.group3 = Group(in_channels=widths[1], out_channels=widths[2])
        self.head = nn.Linear(widths[2], num_classes, bias=False)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        return [(name, [name]) for name in ("whitening", "group1", "group2", "group3", "head")]

    def fit_images(self, batches: Iterable[Tensor]) -> None:
        """Fit the whitening to training images, float (B, C, H, W) a batch, before the first step."""
        self.whitening.fit(batches)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        features = F.gelu(self.whitening(images))
        features = self.group3(self.group2(self.group1(features)))
        return self.head(features.amax(dim=(2, 3))) * self.head_scale
