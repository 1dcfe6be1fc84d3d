"""LeNet-5 as published in 1998: poolings that learn, a table of connections, a scaled tanh, distances as output.

LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86 (1998).

- The idea that stayed: convolutions whose maps share their weights, poolings between them, dense layers at the end,
  and all of it learnt from pixels.
- What differs from `lenet5`, the modern form: each pooling sums 2x2 pixels, times a coefficient, plus a bias, both
  learnt, and the activation stands behind it; each map of the second convolution sees only some of the six before it
  (60 of 96 pairs, the paper's table 1), so that maps become different; the activation is 1.7159 tanh(2 x / 3).
- `classifier="rbf"`: the logits are minus the squared distances of the 84 features to a fixed code of -1 and 1 a
  class. The paper draws its codes as letters of 7x12 pixels; here they are random, since classes need not be letters.
  Nothing in this layer learns, so the stage `head` is the layer that makes the features. With cross-entropy it is the
  paper's second loss (equation 9) without its constant. `linear` is a usual output.
- Parameters for 1 channel and 10 classes: 60,000 with `rbf`; 60,850 with `linear`; 60,806 without learnt poolings.
- When to use: to see what has changed since. `lenet5` with ReLU and max pooling learns faster.
- 28-pixel images are padded by 2, as the paper pads MNIST.
- Left out: the paper's start of the weights, its second-order learning rates, and the competing term of its loss.
"""

from __future__ import annotations

import random
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSIFIERS = ("linear", "rbf")
PADDINGS = {28: 2, 32: 0}
# Which of the six maps each of the 16 sees: three neighbours, four neighbours, four in two pairs, all.
TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


def squashed(features: Tensor) -> Tensor:
    """1.7159 tanh(2 x / 3): 1 at 1 and -1 at -1."""
    return 1.7159 * torch.tanh(features * (2 / 3))


class TrainablePool(nn.Module):
    """The sum of each 2x2 pixels, times a coefficient a map, plus a bias a map; it starts as their mean."""

    def __init__(self, *, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((maps, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, maps, H, W) to (B, maps, H // 2, W // 2)."""
        return 4 * F.avg_pool2d(maps, 2) * self.coefficient + self.bias


class TableConv(nn.Module):
    """A 5x5 convolution of 6 maps to 16 that has a kernel for each pair in the table, and none for the others."""

    places: Tensor

    def __init__(self) -> None:
        super().__init__()
        pairs = [(after, before) for after, row in enumerate(TABLE) for before in row]
        self.weight = nn.Parameter(torch.empty(len(pairs), 5, 5))
        self.bias = nn.Parameter(torch.zeros(len(TABLE)))
        for number, (after, _) in enumerate(pairs):
            bound = (25 * len(TABLE[after])) ** -0.5  # as torch's own convolutions start
            nn.init.uniform_(self.weight[number], -bound, bound)
        # The number of each pair's kernel; of no pair, that of a kernel of zeros behind them.
        places = [pairs.index((a, b)) if (a, b) in pairs else len(pairs) for a in range(len(TABLE)) for b in range(6)]
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, 6, H, W) to (B, 16, H - 4, W - 4)."""
        kernels = torch.cat((self.weight, self.weight.new_zeros(1, 5, 5)))[self.places]
        return F.conv2d(maps, kernels.unflatten(0, (len(TABLE), 6)), self.bias)


class LeNet51998(nn.Module):
    """LeNet-5 of 1998 for 28- or 32-pixel images."""

    image_sizes: tuple[int, ...] | None = (28, 32)
    codes: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        trainable_pooling: bool = True,
        classifier: Literal["linear", "rbf"] = "linear",
    ) -> None:
        super().__init__()
        if image_size not in PADDINGS:
            raise ValueError(f"LeNet-5 takes images of 28 or 32 pixels; got image_size {image_size}")
        if classifier not in CLASSIFIERS:
            raise ValueError(f"classifier must be one of {', '.join(CLASSIFIERS)}; got {classifier!r}")
        self.image_size = image_size
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=PADDINGS[image_size])
        self.pool1 = TrainablePool(maps=6) if trainable_pooling else nn.AvgPool2d(2)
        self.conv2 = TableConv()
        self.pool2 = TrainablePool(maps=16) if trainable_pooling else nn.AvgPool2d(2)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.dense = nn.Linear(120, 84)
        self.head: nn.Module | None = nn.Linear(84, num_classes) if classifier == "linear" else None
        if self.head is None:
            bits = random.Random(0)
            codes = [[bits.choice((-1.0, 1.0)) for _ in range(84)] for _ in range(num_classes)]
            self.register_buffer("codes", torch.tensor(codes))

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        body = [("conv1", ["conv1", "pool1"]), ("conv2", ["conv2", "pool2"]), ("conv3", ["conv3"])]
        return [*body, ("dense", ["dense"]), ("head", ["head"])] if self.head else [*body, ("head", ["dense"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes); ValueError for a size it was not built for."""
        height, width = images.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise ValueError(
                f"this net was built for {self.image_size}x{self.image_size} images, got {height}x{width}: "
                f"build it with one of the sizes 28 and 32, or resize the images"
            )
        maps = squashed(self.pool1(self.conv1(images)))  # (B, 6, 14, 14)
        maps = squashed(self.pool2(self.conv2(maps)))  # (B, 16, 5, 5)
        features = squashed(self.conv3(maps)).flatten(1)  # (B, 120)
        features = squashed(self.dense(features))  # (B, 84)
        if self.head is not None:
            return self.head(features)
        return -((features[:, None] - self.codes) ** 2).sum(dim=2)  # (B, num_classes)
