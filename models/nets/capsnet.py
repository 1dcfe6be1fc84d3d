"""CapsNet: features are vectors, and each asks by agreement which object it is a part of.

Sabour, Frosst, Hinton: Dynamic Routing Between Capsules, 2017 (arXiv:1710.09829).

- A capsule is a vector: its length says whether something is there, its direction how it lies. `squash` keeps the
  direction and brings the length below 1.
- Each of the small capsules predicts each of the large ones, one a class, by a matrix of its own. Routing: a large
  capsule is the mean of its predictions; those that agree with it count more in the next round (`routings` of them).
- The logits are the lengths of the class capsules. They lie between 0 and 1: `loss=capsule_margin` is made for that.
- `decoder=true`: three dense layers draw the image from the capsule of its class, which `task=capsules` trains beside
  the margin loss. The paper's ends in a sigmoid, for pixels from 0 to 1; here it is linear, for normalised ones.
- What differs from a convolutional net: no pooling, and layers are joined by agreement instead of by a fixed sum.
- Parameters at 28 pixels, 1 channel, 10 classes: 6,804,224, with the decoder 8,215,568.
- When to use: to learn about routing. It is slow, and a ResNet is better on photographs. `capsnet_tiny` has 114,224
  weights.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PARTS, WHOLES = 8, 16  # numbers in a small and in a large capsule
KERNEL = 9
EPSILON = 1e-8  # under the roots, whose slope at zero would be infinite


def squash(vectors: Tensor) -> Tensor:
    """Bring the length n of vectors (..., D) to n^2 / (1 + n^2)."""
    squares = vectors.square().sum(dim=-1, keepdim=True)
    return vectors * torch.sqrt(squares + EPSILON) / (1 + squares)


def route(predictions: Tensor, *, routings: int) -> Tensor:
    """Join predictions (B, K, parts, D) to capsules (B, K, D) by agreement; gradients flow through the last round."""
    agreement = torch.zeros_like(predictions[..., 0])  # (B, K, parts)
    fixed = predictions.detach()
    for _ in range(routings - 1):
        wholes = squash(torch.einsum("bkp,bkpd->bkd", agreement.softmax(dim=1), fixed))
        agreement = agreement + torch.einsum("bkpd,bkd->bkp", fixed, wholes)
    return squash(torch.einsum("bkp,bkpd->bkd", agreement.softmax(dim=1), predictions))


class ClassCapsules(nn.Module):
    """One large capsule a class: a matrix for each pair of a class and a small capsule, and the routing."""

    def __init__(self, *, num_classes: int, parts: int, routings: int) -> None:
        super().__init__()
        self.routings = routings
        self.weight = nn.Parameter(0.1 * torch.randn(num_classes, parts, WHOLES, PARTS))

    def forward(self, parts: Tensor) -> Tensor:
        """Map small capsules (B, parts, 8) to those of the classes (B, K, 16)."""
        predictions = torch.einsum("bpi,kpdi->bkpd", parts, self.weight)
        return route(predictions, routings=self.routings)


class CapsNet(nn.Module):
    """A convolution of `width` maps, `kinds` small capsules a place, one large capsule a class."""

    image_sizes: tuple[int, ...] | None = (28, 32)

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        width: Annotated[int, "x >= 1"] = 256,
        kinds: Annotated[int, "x >= 1"] = 32,
        routings: Annotated[int, "x >= 1"] = 3,
        decoder: bool = False,
    ) -> None:
        super().__init__()
        if image_size < 2 * KERNEL - 1:
            raise ValueError(f"CapsNet takes images of at least {2 * KERNEL - 1} pixels; got image_size {image_size}")
        if min(width, kinds, routings) < 1:
            raise ValueError(f"width, kinds and routings must be at least 1; got {width}, {kinds}, {routings}")
        self.image_size = image_size
        side = (image_size - 2 * KERNEL + 1) // 2 + 1  # of the map behind both convolutions
        self.conv = nn.Conv2d(in_channels, width, KERNEL)
        self.parts = nn.Conv2d(width, kinds * PARTS, KERNEL, stride=2)
        self.decoder: nn.Module | None = None
        if decoder:
            self.decoder = nn.Sequential(
                *(nn.Linear(num_classes * WHOLES, 512), nn.ReLU(), nn.Linear(512, 1024), nn.ReLU()),
                *(nn.Linear(1024, in_channels * image_size**2), nn.Unflatten(1, (in_channels, image_size, image_size))),
            )
        self.head = ClassCapsules(num_classes=num_classes, parts=kinds * side**2, routings=routings)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        middle = [] if self.decoder is None else [("decoder", ["decoder"])]
        return [("conv", ["conv"]), ("parts", ["parts"]), *middle, ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to lengths (B, num_classes); ValueError for a size it was not built for."""
        height, width = images.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise ValueError(
                f"this net was built for {self.image_size}x{self.image_size} images, got {height}x{width}: "
                f"build it with one of the sizes 28 and 32, or resize the images"
            )
        maps = self.parts(F.relu(self.conv(images)))  # (B, kinds * 8, h, w)
        parts = squash(maps.unflatten(1, (-1, PARTS)).flatten(3).transpose(2, 3).flatten(1, 2))  # (B, kinds * h * w, 8)
        wholes = self.head(parts)  # (B, K, 16)
        return torch.sqrt(wholes.square().sum(dim=2) + EPSILON)

    def drawn(self, wholes: Tensor, shares: Tensor) -> Tensor:
        """Images (B, C, H, W) that the decoder draws from capsules (B, K, 16), those of other classes put to zero.

        Args:
            wholes: what `head` gives.
            shares: of the classes in each image, (B, K); one-hot for labels.
        """
        assert self.decoder is not None
        return self.decoder((wholes * shares[:, :, None]).flatten(1))
