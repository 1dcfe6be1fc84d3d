"""A plain convolutional net whose every part can be chosen: the bench for one-change-at-a-time experiments.

- Blocks of convolution, norm, pooling, activation and spatial dropout, in any `order`; one block for each
  entry of `widths`. Then flatten or global average pooling, dense layers (linear, norm, activation, dropout),
  and the logits.
- The preset is four blocks, flatten, one dense layer.
- Pooling halves with rounding up, so that small images survive four blocks (8 -> 4 -> 2 -> 1 -> 1).
- Norms: batch (Ioffe, Szegedy 2015), layer (Ba et al. 2016; over channels and pixels of one image), instance
  (Ulyanov et al. 2016), group (Wu, He 2018), none. Dense layers have no pixels: instance means none there.
- Dropout 0.5 in dense layers (Srivastava et al. 2014); spatial dropout drops whole channels (Tompson et al.
  2015).
- Parameters of the preset for 32x32x3 and 10 classes: 521,514.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
NORMS = ("batch", "layer", "instance", "group", "none")
POOLS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d] | None] = {
    "max": nn.MaxPool2d,
    "avg": nn.AvgPool2d,
    "none": None,
}
ENDINGS = ("flatten", "gap")
ORDER: tuple[Any, ...] = ("conv", "norm", "pool", "activation", "dropout")


class CNN(nn.Module):
    """Convolution blocks, flatten or global average pooling (`ending="gap"`), dense layers, logits.

    `order` may leave out a part that is turned off (norm="none", pool="none", spatial_dropout=0), no other; a
    configuration names all five.
    `groups` is the number of groups of the group norm. With `gap` any image size works; with `flatten` only
    `image_size`.
    """

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        widths: Annotated[tuple[Annotated[int, "x >= 1"], ...], "len(x) >= 1"] = (32, 64, 128, 256),
        kernel_size: Annotated[int, "x >= 1", "x % 2 == 1"] = 3,
        order: Annotated[
            tuple[Literal["conv", "norm", "pool", "activation", "dropout"], ...], "len(set(x)) == 5"
        ] = ORDER,
        norm: Literal["batch", "layer", "instance", "group", "none"] = "batch",
        groups: Annotated[int, "x >= 1"] = 8,
        pool: Literal["max", "avg", "none"] = "max",
        activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"] = "relu",
        spatial_dropout: Annotated[float, "0 <= x < 1"] = 0.0,
        ending: Literal["flatten", "gap"] = "flatten",
        dense_widths: tuple[Annotated[int, "x >= 1"], ...] = (128,),
        dropout: Annotated[float, "0 <= x < 1"] = 0.5,
    ) -> None:
        super().__init__()
        _check_choice("norm", norm, NORMS)
        _check_choice("pool", pool, POOLS)
        _check_choice("activation", activation, ACTIVATIONS)
        _check_choice("ending", ending, ENDINGS)
        off = {"norm": norm == "none", "pool": pool == "none", "dropout": spatial_dropout == 0}
        needed = {part for part in ORDER if not off.get(part, False)}
        if len(set(order)) != len(order) or not needed <= set(order) <= set(ORDER):
            raise ValueError(
                f"order must name each of {', '.join(ORDER)} once (parts turned off may be left out); "
                f"got {', '.join(order)}"
            )
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that size is kept; got {kernel_size}")
        if not widths or min((*widths, *dense_widths)) < 1:
            raise ValueError(f"widths need a block, and at least 1 each; got {list(widths)}, {list(dense_widths)}")
        if not (0 <= dropout < 1 and 0 <= spatial_dropout < 1):
            raise ValueError(f"dropout must be at least 0 and below 1; got {dropout} and {spatial_dropout}")
        self.image_size = image_size
        self.ending = ending

        blocks = []
        channels, size = in_channels, image_size
        for width in widths:
            parts: list[nn.Module] = []
            block_in = channels
            for part in order:
                if part == "conv":
                    # A norm after the convolution subtracts its bias again.
                    bias = norm == "none" or order.index("norm") < order.index("conv")
                    parts.append(nn.Conv2d(block_in, width, kernel_size, padding=kernel_size // 2, bias=bias))
                    channels = width
                elif part == "norm" and norm != "none":
                    parts.append(_norm2d(norm, channels, groups=groups, size=size))
                elif part == "pool" and (pool_class := POOLS[pool]) is not None:
                    parts.append(pool_class(2, ceil_mode=True))
                    size = (size + 1) // 2
                elif part == "activation":
                    parts.append(ACTIVATIONS[activation]())
                elif part == "dropout" and spatial_dropout:
                    parts.append(nn.Dropout2d(spatial_dropout))
            blocks.append(nn.Sequential(*parts))
        self.blocks = nn.Sequential(*blocks)

        features = channels if ending == "gap" else channels * size**2
        dense = []
        for width in dense_widths:
            parts = [nn.Linear(features, width, bias=norm in ("none", "instance"))]
            parts += _norm1d(norm, width, groups=groups)
            parts += [ACTIVATIONS[activation](), nn.Dropout(dropout)]
            dense.append(nn.Sequential(*parts))
            features = width
        self.dense = nn.Sequential(*dense)
        self.head = nn.Linear(features, num_classes)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        blocks = [(f"block{i + 1}", [f"blocks.{i}"]) for i in range(len(self.blocks))]
        dense = [(f"dense{i + 1}", [f"dense.{i}"]) for i in range(len(self.dense))]
        return [*blocks, *dense, ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes); flatten: ValueError for another size."""
        height, width = images.shape[-2:]
        if self.ending == "flatten" and (height, width) != (self.image_size, self.image_size):
            raise ValueError(
                f"this net flattens and was built for {self.image_size}x{self.image_size} images, got "
                f"{height}x{width}: build it with image_size={height}, or with ending=gap for any size"
            )
        features = self.blocks(images)  # (B, widths[-1], h, w)
        features = torch.mean(features, dim=(2, 3)) if self.ending == "gap" else features.flatten(1)
        return self.head(self.dense(features))


def _check_choice(what: str, value: str, choices: tuple[str, ...] | dict) -> None:
    if value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}; got {value!r}")


def _check_groups(channels: int, groups: int) -> None:
    if groups < 1 or channels % groups:
        raise ValueError(f"norm=group needs groups that divide the channels; got {groups} and {channels}")


def _norm2d(norm: str, channels: int, *, groups: int, size: int) -> nn.Module:
    """Make the norm of feature maps (B, channels, size, size)."""
    if norm == "group":
        _check_groups(channels, groups)
        return nn.GroupNorm(groups, channels)
    if norm == "instance":
        if size == 1:
            raise ValueError(
                "norm=instance needs maps of at least 2x2 pixels, and here a map is 1x1: "
                "use fewer widths, pool=none, larger images or another norm"
            )
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.GroupNorm(1, channels) if norm == "layer" else nn.BatchNorm2d(channels)


def _norm1d(norm: str, width: int, *, groups: int) -> list[nn.Module]:
    """Make the norm of dense features (B, width), or nothing where there is none."""
    if norm == "group":
        _check_groups(width, groups)
        return [nn.GroupNorm(groups, width)]
    if norm in ("none", "instance"):
        return []
    return [nn.LayerNorm(width) if norm == "layer" else nn.BatchNorm1d(width)]
