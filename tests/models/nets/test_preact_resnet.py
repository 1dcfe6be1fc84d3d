"""Pre-activation ResNet: counts, timm's block with its weights, zero start and the coins of stochastic depth."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from models.build import build_net
from models.nets.preact_resnet import PreActBlock, PreActResNet, dropped


def test_counts_are_those_of_the_resnet_of_2015() -> None:
    for depth, known in ((20, 269_722), (56, 853_018), (110, 1_727_962)):
        with torch.device("meta"):
            sizes = {"num_classes": 10, "in_channels": 3, "image_size": 32}
            net = build_net(name="preact_resnet20", **sizes, arguments={"depth": depth})
        assert sum(parameter.numel() for parameter in net.parameters()) == known


def test_depth_is_the_number_of_weighted_layers() -> None:
    net = PreActResNet(num_classes=10, in_channels=3, depth=26)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in net.modules()) == 26


def padded(in_channels: int, out_channels: int, kernel: int, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False, **more)


@pytest.mark.parametrize(("in_channels", "out_channels", "stride"), [(8, 8, 1), (8, 16, 2)])
def test_block_equals_timms_with_its_weights(in_channels: int, out_channels: int, stride: int) -> None:
    torch.manual_seed(0)
    theirs = timm.models.resnetv2.PreActBasic(
        in_channels,
        out_channels,
        stride=stride,
        bottle_ratio=1.0,
        conv_layer=padded,
        norm_layer=NormAndReLU,
        proj_layer=Projection,
    )
    ours = PreActBlock(
        in_channels=in_channels, out_channels=out_channels, stride=stride, shortcut="projection", drop=0.0
    )
    renamed = {key.replace("downsample.conv", "projection"): value for key, value in theirs.state_dict().items()}
    ours.load_state_dict(renamed)
    images = torch.randn(2, in_channels, 9, 9)
    torch.testing.assert_close(ours.train()(images), theirs.train()(images))


def test_identity_shortcut_takes_every_second_pixel_and_appends_zeros() -> None:
    block = PreActBlock(in_channels=1, out_channels=2, stride=2, shortcut="identity", drop=0.0)
    nn.init.zeros_(block.conv2.weight)
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert block(maps).tolist() == [[[[0, 2], [8, 10]], [[0, 0], [0, 0]]]]


def test_zero_init_residual_starts_each_block_as_its_shortcut() -> None:
    net = PreActResNet(num_classes=10, in_channels=3, depth=8, zero_init_residual=True)
    maps = torch.randn(2, 16, 6, 6)
    assert torch.equal(net.body[0](maps), maps)
    assert not torch.equal(PreActResNet(num_classes=10, in_channels=3, depth=8).body[0](maps), maps)


def test_dropped_images_are_whole_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    out = dropped(torch.ones(10_000, 2, 1, 1), 0.3)
    assert torch.equal(out[:, 0], out[:, 1])
    kept = (out[:, 0] > 0).float().mean().item()
    assert abs(kept - 0.7) < 4 * (0.21 / 10_000) ** 0.5
    assert out.max().item() == pytest.approx(1 / 0.7)
    ones = torch.ones(5, 1)
    assert dropped(ones, 0.0) is ones


def test_stochastic_depth_grows_linearly_and_rests_in_evaluation() -> None:
    net = PreActResNet(num_classes=10, in_channels=3, depth=20, stochastic_depth=0.9)
    drops = [module.drop for module in net.modules() if isinstance(module, PreActBlock)]
    assert drops == pytest.approx([0.1 * (number + 1) for number in range(9)])
    images = torch.rand(4, 3, 8, 8)
    net.eval()
    assert torch.equal(net(images), net(images))
    net.train()
    assert not torch.equal(net(images), net(images))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 21}, "such as 20 or 26.*got 21"),
        ({"shortcut": "none"}, "identity, projection; got 'none'"),
        ({"stochastic_depth": 1.0}, "below 1; got 1.0"),
        ({"width": 0}, "at least 1; got 0"),
    ],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreActResNet(num_classes=10, in_channels=3, **arguments)


class NormAndReLU(nn.BatchNorm2d):
    """What timm calls a norm here: with its activation."""

    def __init__(self, channels: int, apply_act: bool = True, **_: object) -> None:
        super().__init__(channels)
        self.apply_act = apply_act

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = super().forward(maps)
        return maps.relu() if self.apply_act else maps


class Projection(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, **_: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.conv(maps)
