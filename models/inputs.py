"""Input adaptation: a net made for 3 channels takes 1, and the reverse, and its weights keep their meaning.

3 -> 1 sums the first layer's kernels over the channels, so a grey image gives what its three equal channels
gave. 1 -> 3 repeats the kernel divided by 3, so three equal channels give what the one channel gave.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def adapt_weight(weight: Tensor, *, have: int, want: int) -> Tensor:
    """Turn a first layer's weight for `have` channels into one for `want`; one of the two has to be 1.

    Shapes: convolution (out, have, k, k) -> (out, want, k, k); dense layer on flattened images
    (out, have * H * W) -> (out, want * H * W).

    Raises:
        ValueError: neither is 1 and they differ, or the weight does not divide into `have` channels.
    """
    if have == want:
        return weight
    if 1 not in (have, want) or weight.shape[1] % have:
        raise ValueError(f"cannot adapt a first layer from {have} to {want} channels: only 1 <-> n is defined")
    by_channel = weight.unflatten(1, (have, -1))  # (out, have, 1 or H * W, ...)
    if want == 1:
        adapted = by_channel.sum(dim=1, keepdim=True)
    else:
        adapted = by_channel.expand(-1, want, *by_channel.shape[2:]) / want
    return adapted.flatten(1, 2).contiguous()


def first_layer(net: nn.Module) -> tuple[str, nn.Conv2d | nn.Linear]:
    """Find the layer that sees the images: the first convolution or dense layer, with its name."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            return name, module
    raise ValueError(f"{type(net).__name__} has no convolution and no dense layer")


def adapt_input(net: nn.Module, *, in_channels: int) -> None:
    """Change the first convolution of `net`, in place, to take `in_channels` channels."""
    name, layer = first_layer(net)
    if not isinstance(layer, nn.Conv2d):
        raise ValueError(f"the first layer of {type(net).__name__}, {name}, is no convolution: build it anew")
    with torch.no_grad():
        weight = adapt_weight(layer.weight, have=layer.in_channels, want=in_channels)
    layer.weight = nn.Parameter(weight.clone())
    layer.in_channels = in_channels
