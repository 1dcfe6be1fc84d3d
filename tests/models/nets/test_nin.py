"""Network in network: the paper's count and sizes, and a 1x1 convolution as a linear layer a pixel."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.build import build_net
from models.nets.nin import NIN


def test_parameters_are_the_papers() -> None:
    net = build_net(name="nin", num_classes=10, in_channels=3, image_size=32)
    layers = [(75, 192), (192, 160), (160, 96), (25 * 96, 192), (192, 192), (192, 192), (9 * 192, 192), (192, 192)]
    by_hand = sum(before * after + after for before, after in [*layers, (192, 10)])
    assert sum(parameter.numel() for parameter in net.parameters()) == by_hand == 966_986


def test_sizes_at_32_pixels_and_the_logits_are_means_of_maps() -> None:
    net = NIN(num_classes=10, in_channels=3, width=0.05).eval()
    shapes: list[tuple[int, ...]] = []
    maps: list[torch.Tensor] = []
    for block in net.body:
        block.register_forward_hook(lambda *given: shapes.append(tuple(given[2].shape[2:])))
    net.head.register_forward_hook(lambda *given: maps.append(given[2]))
    logits = net(torch.rand(2, 3, 32, 32))
    assert shapes == [(16, 16), (8, 8), (8, 8)]
    torch.testing.assert_close(logits, maps[0].mean(dim=(2, 3)))


def test_a_1x1_convolution_is_a_linear_layer_at_each_pixel() -> None:
    torch.manual_seed(0)
    layer = next(
        module
        for module in NIN(num_classes=10, in_channels=3).body.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    )
    maps = torch.rand(2, 192, 4, 4)
    dense = F.linear(maps.permute(0, 2, 3, 1), layer.weight.flatten(1), layer.bias)
    torch.testing.assert_close(layer(maps), dense.permute(0, 3, 1, 2))


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 0; got 0"):
        NIN(num_classes=10, in_channels=3, width=0.0)
    with pytest.raises(ValueError, match="below 1; got 1"):
        NIN(num_classes=10, in_channels=3, dropout=1.0)
