"""The CIFAR residual net against the paper's counts, torchvision's block and a hand-made shortcut."""

import pytest
import torch
from torchvision.models.resnet import BasicBlock

from models.nets.cifar_resnet import CifarResNet, ResidualBlock, ZeroPadShortcut


def parameters(**arguments) -> int:
    with torch.device("meta"):
        net = CifarResNet(num_classes=10, in_channels=3, **arguments)
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("depth", "paper", "tolerance"),
    # He et al. 2015, table 6
    [
        (20, 0.27e6, 0.005e6),
        (32, 0.46e6, 0.005e6),
        (44, 0.66e6, 0.005e6),
        (56, 0.85e6, 0.005e6),
        (110, 1.7e6, 0.05e6),
        (1202, 19.4e6, 0.05e6),
    ],
)
def test_parameter_counts_of_the_paper(depth: int, paper: float, tolerance: float) -> None:
    assert abs(parameters(depth=depth) - paper) < tolerance


def test_parameter_count_by_hand() -> None:
    stem = 3 * 16 * 9 + 2 * 16
    same = sum(6 * (width * width * 9 + 2 * width) for width in (16, 32, 64))
    narrower_first = (16 * 32 + 32 * 64 - 32 * 32 - 64 * 64) * 9
    assert parameters(depth=20) == stem + same + narrower_first + 64 * 10 + 10 == 269_722


@pytest.mark.parametrize("depth", [20, 56])
def test_the_plain_twin_has_the_parameters_of_the_identity_net(depth: int) -> None:
    assert parameters(depth=depth, shortcut="none") == parameters(depth=depth, shortcut="identity")
    projections = 16 * 32 + 32 * 64 + 2 * 32 + 2 * 64
    assert parameters(depth=depth, shortcut="projection") == parameters(depth=depth) + projections


@pytest.mark.parametrize(("in_channels", "out_channels", "stride"), [(8, 8, 1), (8, 16, 2)])
def test_block_equals_torchvision_with_its_weights(in_channels: int, out_channels: int, stride: int) -> None:
    torch.manual_seed(0)
    downsample = None
    if stride == 2:
        downsample = torch.nn.Sequential(
            torch.nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
            torch.nn.BatchNorm2d(out_channels),
        )
    reference = BasicBlock(in_channels, out_channels, stride=stride, downsample=downsample)
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter)
    ours = ResidualBlock(in_channels=in_channels, out_channels=out_channels, stride=stride, shortcut="projection")
    renamed = {
        key.replace("bn", "norm").replace("downsample", "shortcut"): value
        for key, value in reference.state_dict().items()
    }
    ours.load_state_dict(renamed)
    images = torch.randn(2, in_channels, 9, 9)
    for training in (True, False):
        torch.testing.assert_close(ours.train(training)(images), reference.train(training)(images))


def test_identity_shortcut_takes_every_second_pixel_and_appends_zeros() -> None:
    images = torch.arange(16.0).reshape(1, 1, 4, 4)
    shortcut = ZeroPadShortcut(extra_channels=1, stride=2)(images)
    assert shortcut.tolist() == [[[[0, 2], [8, 10]], [[0, 0], [0, 0]]]]


def test_a_block_with_dead_convolutions_is_its_shortcut() -> None:
    images = torch.rand(1, 2, 4, 4)  # not negative: the last relu changes nothing
    for shortcut, expected in (("identity", images), ("none", torch.zeros_like(images))):
        block = ResidualBlock(in_channels=2, out_channels=2, stride=1, shortcut=shortcut)
        torch.nn.init.zeros_(block.norm2.weight)
        assert torch.equal(block(images), expected)


def test_zero_init_residual_starts_each_block_as_its_shortcut() -> None:
    net = CifarResNet(num_classes=10, in_channels=3, depth=8, zero_init_residual=True)
    blocks = [module for module in net.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == 3
    assert all(not block.norm2.weight.any() for block in blocks)
    plain_start = CifarResNet(num_classes=10, in_channels=3, depth=8)
    assert plain_start.stage1[0].norm2.weight.all()


def test_depth_is_the_number_of_weighted_layers() -> None:
    net = CifarResNet(num_classes=10, in_channels=3, depth=32)
    weighted = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(weighted) == 32


def test_width_and_depth_change_the_net() -> None:
    assert parameters(depth=26, width=8) < parameters(depth=26, width=16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 21}, "such as 20 or 26.*got 21"),
        ({"depth": 2}, "such as 8 or 14.*got 2"),
        ({"shortcut": "skip"}, "identity, projection, none; got 'skip'"),
        ({"shortcut": "none", "zero_init_residual": True}, "needs a shortcut"),
        ({"width": 0}, "at least 1; got 0"),
    ],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CifarResNet(num_classes=10, in_channels=3, **arguments)
