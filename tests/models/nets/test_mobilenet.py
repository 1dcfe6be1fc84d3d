"""MobileNets v2 and v3: counts, torchvision's nets with their weights, and their sizes at 32 pixels."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from models.build import build_net
from models.nets.mobilenet_v2 import InvertedResidual, MobileNetV2
from models.nets.mobilenet_v3 import MobileNetV3Small, SqueezeExcite

LARGE = {"mobilenet_v2_small": {"width": 1.0, "large": True}, "mobilenet_v3_small_32": {"large": True}}
THEIRS = {"mobilenet_v2_small": "mobilenet_v2", "mobilenet_v3_small_32": "mobilenet_v3_small"}


def build(name: str, classes: int, **more: object) -> nn.Module:
    return build_net(name=name, num_classes=classes, in_channels=3, image_size=32, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "classes", "arguments", "count"),
    [
        ("mobilenet_v2_small", 10, {}, 590_410),
        ("mobilenet_v2_small", 1000, LARGE["mobilenet_v2_small"], 3_504_872),
        ("mobilenet_v3_small_32", 10, {}, 1_528_106),
        ("mobilenet_v3_small_32", 1000, {}, 2_542_856),
        ("mobilenet_v3_small_32", 1000, {"large": True}, 2_542_856),
    ],
)
def test_parameter_counts(name: str, classes: int, arguments: dict, count: int) -> None:
    with torch.device("meta"):
        net = build(name, classes, arguments=arguments)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize("name", LARGE)
def test_logits_equal_torchvisions_with_its_weights(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = get_model(THEIRS[name], num_classes=10).eval()
    for key, value in theirs.state_dict().items():
        if key.endswith("running_mean"):
            nn.init.normal_(value, std=0.1)
        elif key.endswith("running_var"):
            nn.init.uniform_(value, 0.5, 1.0)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = build(name, 10, arguments=LARGE[name], weights=str(tmp_path / "theirs.pth"), weights_by_order=True).eval()
    images = torch.rand(2, 3, 64, 64)
    expected = theirs(images)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LARGE)
def test_four_pixels_are_left_of_32_and_two_of_64_in_the_large_form(name: str) -> None:
    for arguments, size, left in (({}, 32, 4), (LARGE[name], 64, 2)):
        with torch.device("meta"):
            net = build(name, 10, arguments=arguments)
        shapes: list[torch.Size] = []
        net.get_submodule("body").register_forward_hook(lambda *given, shapes=shapes: shapes.append(given[2].shape))
        net(torch.zeros(2, 3, size, size, device="meta"))
        assert shapes[0][-2:] == (left, left)


def test_the_shortcut_stands_where_the_shape_stays() -> None:
    maps = torch.rand(2, 8, 6, 6)
    for stride, channels in ((1, 8), (2, 8), (1, 16)):
        block = InvertedResidual(in_channels=8, out_channels=channels, stride=stride, expand=2)
        for value in block.parameters():
            nn.init.zeros_(value)
        expected = maps if (stride, channels) == (1, 8) else torch.zeros(2, channels, 6 // stride, 6 // stride)
        assert torch.equal(block(maps), expected)


def test_attention_of_zero_weights_is_a_half() -> None:
    layer = SqueezeExcite(channels=8)
    for value in layer.parameters():
        nn.init.zeros_(value)
    maps = torch.rand(2, 8, 5, 5)
    assert torch.equal(layer(maps), maps / 2)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 0; got 0"):
        MobileNetV2(num_classes=10, in_channels=3, width=0.0)
    for net in (MobileNetV2, MobileNetV3Small):
        with pytest.raises(ValueError, match="below 1; got 1"):
            net(num_classes=10, in_channels=3, dropout=1.0)
