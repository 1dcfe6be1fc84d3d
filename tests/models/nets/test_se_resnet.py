"""SE-ResNet: its counts, timm's net with its weights, and what the attention does."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from models.build import build_net
from models.nets.se_resnet import SEResNet, SqueezeExcite


def count(name: str, classes: int) -> int:
    with torch.device("meta"):
        net = build_net(name=name, num_classes=classes, in_channels=3, image_size=32)
    return sum(parameter.numel() for parameter in net.parameters())


def attention(channels: int) -> int:
    inside = channels // 16
    return 2 * channels * inside + inside + channels


def test_counts_are_those_of_the_resnet_and_the_attention() -> None:
    large = {256: 3, 512: 4, 1024: 6, 2048: 3}
    more = sum(blocks * attention(channels) for channels, blocks in large.items())
    assert more == 2_530_992
    assert count("se_resnet50", 1000) == 25_557_032 + more == 28_088_024
    projections = 16 * 32 + 32 * 64 + 2 * 32 + 2 * 64
    small = 3 * sum(attention(channels) for channels in (16, 32, 64))
    assert count("se_resnet20", 10) == 269_722 + projections + small == 274_847


def test_logits_equal_timms_with_its_weights(tmp_path: Path) -> None:
    """The large form, through a file and by order; timm keeps the shortcut's projection at the end as we do."""
    torch.manual_seed(0)
    arguments = {"blocks": [1, 1, 1, 1]}
    theirs = timm.models.resnet.ResNet(
        timm.models.resnet.Bottleneck,
        layers=(1, 1, 1, 1),
        num_classes=10,
        block_args={"attn_layer": timm.layers.SEModule},
    ).eval()
    check_against(theirs, tmp_path, arguments)


@pytest.mark.slow
def test_logits_equal_timms_seresnet50(tmp_path: Path) -> None:
    torch.manual_seed(0)
    check_against(timm.create_model("seresnet50", num_classes=10).eval(), tmp_path, {})


def check_against(theirs: nn.Module, folder: Path, arguments: dict[str, Any]) -> None:
    for name, value in theirs.state_dict().items():
        if name.endswith(("running_mean", ".bias")):
            nn.init.normal_(value, std=0.1)
        elif name.endswith("running_var") or ("bn" in name and name.endswith("weight")):
            nn.init.uniform_(value, 0.5, 1.0)
    torch.save(theirs.state_dict(), folder / "theirs.pth")
    ours = build_net(
        name="se_resnet50",
        num_classes=10,
        in_channels=3,
        image_size=64,
        arguments=arguments,
        weights=str(folder / "theirs.pth"),
        weights_by_order=True,
    ).eval()
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


def test_attention_of_zero_weights_is_a_half() -> None:
    layer = SqueezeExcite(channels=8, ratio=4)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    maps = torch.rand(2, 8, 5, 5)
    assert torch.equal(layer(maps), maps / 2)


def test_each_unit_of_the_attention_starts_alive_behind_a_norm() -> None:
    torch.manual_seed(0)
    means = torch.nn.functional.batch_norm(torch.rand(4, 16, 5, 5), None, None, training=True).mean((2, 3))
    for _ in range(20):
        assert (SqueezeExcite(channels=16, ratio=16).squeeze(means[:, :, None, None]) > 0).any()


def test_attention_gives_a_channel_one_weight_from_the_means_of_all() -> None:
    torch.manual_seed(0)
    layer = SqueezeExcite(channels=8, ratio=4)
    maps = torch.rand(2, 8, 5, 5)
    squeezed = torch.relu(maps.mean((2, 3)) @ layer.squeeze.weight.flatten(1).T + layer.squeeze.bias)
    weights = torch.sigmoid(squeezed @ layer.excite.weight.flatten(1).T + layer.excite.bias)
    torch.testing.assert_close(layer(maps), maps * weights[:, :, None, None])


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 1; got \[3, 0\], 16, 16"):
        SEResNet(num_classes=10, in_channels=3, blocks=(3, 0))
    with pytest.raises(ValueError, match=r"at least 1; got \[3, 3, 3\], 16, 0"):
        SEResNet(num_classes=10, in_channels=3, ratio=0)
