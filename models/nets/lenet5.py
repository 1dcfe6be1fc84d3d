"""LeNet-5 in its modern form: two convolutions, two poolings, three dense layers.

LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86 (1998),
fig. 2.

- 61,706 parameters for 32x32x1 and 10 classes. 28-pixel images are padded by 2 in the first convolution, as
  the paper pads MNIST, so both sizes have the same parameters.
- Left out: the partial connection table of layer C3, trainable pooling with its activation after it, the
  scaled tanh and the radial basis output of 1998; every C3 filter sees all six maps, and the output is
  linear.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "relu": nn.ReLU}
POOLS: dict[str, type[nn.Module]] = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}
PADDINGS = {28: 2, 32: 0}


class LeNet5(nn.Module):
    """LeNet-5 for 28- or 32-pixel images; the paper's form has tanh and average pooling."""

    image_sizes: tuple[int, ...] | None = (28, 32)

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        activation: Literal["tanh", "sigmoid", "relu"] = "tanh",
        pool: Literal["avg", "max"] = "avg",
    ) -> None:
        super().__init__()
        if image_size not in PADDINGS:
            raise ValueError(f"LeNet-5 takes images of 28 or 32 pixels; got image_size {image_size}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
        if pool not in POOLS:
            raise ValueError(f"pool must be one of {', '.join(POOLS)}; got {pool!r}")
        self.image_size = image_size
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=PADDINGS[image_size])
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.dense1 = nn.Linear(16 * 5 * 5, 120)
        self.dense2 = nn.Linear(120, 84)
        self.head = nn.Linear(84, num_classes)
        self.activation = ACTIVATIONS[activation]()
        self.pool = POOLS[pool](2)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        return [(name, [name]) for name in ("conv1", "conv2", "dense1", "dense2", "head")]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes); ValueError for a size it was not built for."""
        height, width = images.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise ValueError(
                f"this net was built for {self.image_size}x{self.image_size} images, got {height}x{width}: "
                f"build it with one of the sizes 28 and 32, or resize the images"
            )
        features = self.pool(self.activation(self.conv1(images)))  # (B, 6, 14, 14)
        features = self.pool(self.activation(self.conv2(features)))  # (B, 16, 5, 5)
        features = self.activation(self.dense1(features.flatten(1)))  # (B, 120)
        return self.head(self.activation(self.dense2(features)))
