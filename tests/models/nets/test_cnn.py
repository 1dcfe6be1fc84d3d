"""The configurable CNN: every choice reaches the layers, and wrong ones are named."""

import pytest
import torch
from torch import nn

from models.nets.cnn import CNN


def build(**arguments) -> CNN:
    return CNN(**{"num_classes": 5, "in_channels": 1, "image_size": 16, "widths": (8, 16), **arguments})


def kinds(module: nn.Module) -> list[str]:
    return [type(part).__name__ for part in module]  # type: ignore[attr-defined]


def test_the_preset_is_four_blocks_flatten_dense() -> None:
    net = CNN(num_classes=10, in_channels=3, image_size=32)
    assert [kinds(block) for block in net.blocks] == [["Conv2d", "BatchNorm2d", "MaxPool2d", "ReLU"]] * 4
    assert [kinds(layer) for layer in net.dense] == [["Linear", "BatchNorm1d", "ReLU", "Dropout"]]
    convolutions = sum(9 * a * b for a, b in [(3, 32), (32, 64), (64, 128), (128, 256)])
    norms = 2 * (32 + 64 + 128 + 256 + 128)
    dense = 256 * 2 * 2 * 128 + 128 * 10 + 10
    assert sum(p.numel() for p in net.parameters()) == convolutions + norms + dense == 521_514
    assert net.dense[0][3].p == 0.5


def test_a_block_computes_its_parts_in_the_given_order() -> None:
    net = build(order=("conv", "activation", "pool", "norm", "dropout"), norm="layer", pool="avg").eval()
    conv = net.blocks[0][0]
    images = torch.randn(2, 1, 16, 16)
    by_hand = nn.functional.avg_pool2d(torch.relu(conv(images)), 2)
    by_hand = (by_hand - by_hand.mean((1, 2, 3), keepdim=True)) / by_hand.var(
        (1, 2, 3), correction=0, keepdim=True
    ).add(1e-5).sqrt()
    torch.testing.assert_close(net.blocks[0](images), by_hand)


@pytest.mark.parametrize(
    ("norm", "in_blocks", "in_dense", "bias"),
    [
        ("batch", "BatchNorm2d", "BatchNorm1d", False),
        ("layer", "GroupNorm", "LayerNorm", False),
        ("instance", "InstanceNorm2d", None, False),
        ("group", "GroupNorm", "GroupNorm", False),
        ("none", None, None, True),
    ],
)
def test_norm_is_one_switch(norm: str, in_blocks: str | None, in_dense: str | None, bias: bool) -> None:
    net = build(norm=norm, dense_widths=(8,))
    block, dense = kinds(net.blocks[0]), kinds(net.dense[0])
    assert [kind for kind in block if "Norm" in kind] == ([in_blocks] if in_blocks else [])
    assert [kind for kind in dense if "Norm" in kind] == ([in_dense] if in_dense else [])
    assert (net.blocks[0][0].bias is not None) is bias
    assert net(torch.rand(2, 1, 16, 16)).shape == (2, 5)


def test_layer_norm_is_over_all_channels_and_pixels_and_group_norm_in_groups() -> None:
    assert build(norm="layer").blocks[0][1].num_groups == 1
    assert build(norm="group", groups=4).blocks[0][1].num_groups == 4


def test_a_norm_before_the_convolution_has_its_channels_and_leaves_it_its_bias() -> None:
    net = build(order=("norm", "conv", "activation", "pool", "dropout"))
    assert net.blocks[1][0].num_features == 8
    assert net.blocks[1][1].bias is not None


def test_dropout_in_dense_layers_drops_units_and_spatial_dropout_whole_channels() -> None:
    torch.manual_seed(0)
    net = build(norm="none", activation="sigmoid", pool="none", spatial_dropout=0.5, dropout=0.3, dense_widths=(64,))
    maps = net.blocks[0](torch.rand(64, 1, 16, 16))  # sigmoid is never zero: zeros are dropped
    zero = (maps == 0).flatten(2)
    assert torch.equal(zero.all(2), zero.any(2))
    assert abs(zero.all(2).float().mean().item() - 0.5) < 0.1
    units = net.dense[0](torch.rand(64, 16 * 16 * 16))
    assert abs((units == 0).float().mean().item() - 0.3) < 0.05


def test_gap_takes_any_size_and_flatten_names_both() -> None:
    assert build(ending="gap")(torch.rand(2, 1, 23, 30)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"built for 16x16 images, got 20x20.*ending=gap"):
        build()(torch.rand(2, 1, 20, 20))


@pytest.mark.parametrize("image_size", [1, 8, 28, 33])
def test_the_preset_takes_small_and_odd_sizes(image_size: int) -> None:
    net = CNN(num_classes=5, in_channels=1, image_size=image_size)
    assert net(torch.rand(2, 1, image_size, image_size)).shape == (2, 5)


def test_depth_kernel_activation_and_dense_layers_come_from_the_arguments() -> None:
    net = build(widths=(4, 6, 8), kernel_size=5, activation="gelu", pool="none", dense_widths=(), norm="none")
    assert [kinds(block) for block in net.blocks] == [["Conv2d", "GELU"]] * 3
    assert net.blocks[2][0].kernel_size == (5, 5)
    assert [name for name, _ in net.stages()] == ["block1", "block2", "block3", "head"]
    assert net.head.in_features == 8 * 16 * 16


def test_parts_that_are_off_may_be_left_out_of_the_order() -> None:
    net = build(order=("conv", "activation"), norm="none", pool="none")
    assert kinds(net.blocks[0]) == ["Conv2d", "ReLU"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": "bach"}, "batch, layer, instance, group, none; got 'bach'"),
        ({"pool": "min"}, "max, avg, none; got 'min'"),
        ({"activation": "rleu"}, "got 'rleu'"),
        ({"ending": "mean"}, "flatten, gap; got 'mean'"),
        ({"order": ("conv", "norm", "activation")}, "each of conv, norm, pool.*got conv, norm, activation"),
        ({"order": ("conv", "conv", "norm", "pool", "activation")}, "got conv, conv"),
        ({"order": ("conv", "norm", "pool", "activation"), "spatial_dropout": 0.1}, "order must name"),
        ({"kernel_size": 4}, "odd.*got 4"),
        ({"widths": ()}, r"got \[\]"),
        ({"dense_widths": (0,)}, r"\[0\]"),
        ({"dropout": 1.5}, "got 1.5"),
        ({"norm": "group", "groups": 3}, "got 3 and 8"),
        ({"norm": "instance", "widths": (8,) * 5, "order": ("conv", "pool", "norm", "activation")}, "1x1"),
    ],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**arguments)
