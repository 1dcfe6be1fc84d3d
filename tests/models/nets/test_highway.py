"""Highway net: a shut gate is the identity, an open one the plain layer."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from models.build import build_net
from models.nets.highway import Highway, HighwayLayer


def test_parameter_count_by_hand() -> None:
    net = build_net(name="highway", num_classes=10, in_channels=3, image_size=32)
    widths = (3, 16, 32, 64)
    plain = sum(9 * before * after + after for before, after in pairwise(widths))
    gated = sum(3 * 2 * (9 * width**2 + width) for width in widths[1:])
    assert sum(parameter.numel() for parameter in net.parameters()) == plain + gated + 650 == 315_210


@pytest.mark.parametrize("bias", [-50.0, 50.0])
def test_a_gate_is_the_identity_or_the_plain_layer(bias: float) -> None:
    torch.manual_seed(0)
    layer = HighwayLayer(channels=4, gate_bias=bias)
    maps = torch.randn(2, 4, 6, 6)
    expected = maps if bias < 0 else layer.plain(maps).relu()
    assert torch.equal(layer(maps), expected)


def test_a_layer_is_its_formula() -> None:
    torch.manual_seed(0)
    layer = HighwayLayer(channels=4, gate_bias=-1.0)
    maps = torch.randn(2, 4, 6, 6)
    gate = layer.gate(maps).sigmoid()
    torch.testing.assert_close(layer(maps), gate * layer.plain(maps).relu() + (1 - gate) * maps)
    assert torch.equal(layer.gate.bias, torch.full((4,), -1.0))


def test_layers_are_counted_a_stage() -> None:
    net = Highway(num_classes=10, in_channels=3, layers=5, width=4)
    assert [sum(isinstance(part, HighwayLayer) for part in stage) for stage in net.body] == [5, 5, 5]
    assert sum(isinstance(module, nn.MaxPool2d) for module in net.modules()) == 2


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1; got 0 and 16"):
        Highway(num_classes=10, in_channels=3, layers=0)
