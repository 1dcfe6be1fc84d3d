"""Softmax (multinomial logistic) regression on the pixels: the baseline every other net has to beat.

One linear layer; the softmax itself is in the loss. Parameters: C * H * W * K + K (7,850 for 28x28x1, 10
classes).
"""

from __future__ import annotations

from torch import Tensor, nn


class Softmax(nn.Module):
    """One linear layer from all pixels to the logits."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(self, *, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.head = nn.Linear(in_channels * image_size**2, num_classes)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        return [("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes); ValueError for a size it was not built for."""
        height, width = images.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise ValueError(
                f"this net was built for {self.image_size}x{self.image_size} images, got {height}x{width}: "
                f"build it with image_size={height} or resize the images"
            )
        return self.head(images.flatten(1))
