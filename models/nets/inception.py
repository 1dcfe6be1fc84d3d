"""A small inception net: 1x1, 3x3, 5x5 and pooling side by side, so that no size of filter has to be chosen.

Szegedy et al.: Going Deeper with Convolutions, 2015 (arXiv:1409.4842), table 1.

- A module has four branches whose maps are put side by side. A 1x1 bottleneck before each large filter cuts its
  multiplications to about a tenth: 28x28x192 to 32 maps by 5x5 takes 120,422,400, through 16 maps 12,443,648.
- `bottleneck=false` is the naive module of figure 2(a), but for the 1x1 behind the pooling, which stays.
- `auxiliary_heads=true`: two further classifiers, half way, whose losses count `loss.auxiliary_weight` in training.
  They bring the loss near to early layers, and regularise; evaluation does not see them.
- What differs from GoogLeNet: five of its nine modules (3a, 3b, 4a, 4d, 5b) with a quarter of the maps (`width`), a
  stem that keeps 32 pixels, batch norm, and auxiliary heads that are a mean and a linear layer.
- Parameters for 3 channels and 10 classes: 177,378; with auxiliary heads 179,998.
- When to use: to learn what branches and bottlenecks are for. Of its accuracy, a ResNet is simpler.
- Any image size works.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

# One row a module: maps of 1x1; bottleneck and maps of 3x3; bottleneck and maps of 5x5; maps behind the pooling.
ROWS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "5b": (384, 192, 384, 48, 128, 128),
}
POOLED = ("4a", "5b")  # before which the resolution is halved


def conv_norm(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """Make conv - norm - relu that keeps the size."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


class Inception(nn.Module):
    """Four branches side by side; `maps` is a row of the table."""

    def __init__(self, *, in_channels: int, maps: tuple[int, ...], bottleneck: bool) -> None:
        super().__init__()
        one, narrow3, three, narrow5, five, pooled = maps
        self.branch1 = conv_norm(in_channels, one, 1)
        self.branch3 = self._branch(in_channels, narrow3, three, 3, bottleneck)
        self.branch5 = self._branch(in_channels, narrow5, five, 5, bottleneck)
        self.branch_pool = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), conv_norm(in_channels, pooled, 1))
        self.out_channels = one + three + five + pooled

    @staticmethod
    def _branch(in_channels: int, narrow: int, after: int, kernel: int, bottleneck: bool) -> nn.Sequential:
        if not bottleneck:
            return conv_norm(in_channels, after, kernel)
        return nn.Sequential(conv_norm(in_channels, narrow, 1), conv_norm(narrow, after, kernel))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W)."""
        branches = (self.branch1, self.branch3, self.branch5, self.branch_pool)
        return torch.cat([branch(maps) for branch in branches], dim=1)


class InceptionSmall(nn.Module):
    """A stem and five modules with `width` times GoogLeNet's maps."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        width: Annotated[float, "x > 0"] = 0.25,
        bottleneck: bool = True,
        auxiliary_heads: bool = False,
    ) -> None:
        super().__init__()
        if width <= 0:
            raise ValueError(f"width must be more than 0; got {width}")
        channels = max(1, int(192 * width))
        self.stem = conv_norm(in_channels, channels, 3)
        sizes = {}
        for name, row in ROWS.items():
            maps = tuple(max(1, int(each * width)) for each in row)
            module = Inception(in_channels=channels, maps=maps, bottleneck=bottleneck)
            setattr(self, f"inception{name}", module)
            sizes[name] = channels = module.out_channels
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.auxiliary = nn.ModuleDict()
        if auxiliary_heads:
            self.auxiliary.update({name: nn.Linear(sizes[name], num_classes) for name in ("4a", "4d")})
        self.head = nn.Linear(channels, num_classes)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        body = [(f"inception{name}", [f"inception{name}"]) for name in ROWS]
        return [("stem", ["stem"]), *body, ("head", ["auxiliary", "head"])]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map images (B, C, H, W) to logits (B, num_classes); in training with auxiliary heads, a tuple of all."""
        maps = self.stem(images)
        others = []
        for name in ROWS:
            maps = self.get_submodule(f"inception{name}")(self.pool(maps) if name in POOLED else maps)
            if self.training and name in self.auxiliary:
                others.append(self.auxiliary[name](torch.mean(maps, dim=(2, 3))))
        logits = self.head(torch.mean(maps, dim=(2, 3)))
        return (logits, *others) if others else logits
