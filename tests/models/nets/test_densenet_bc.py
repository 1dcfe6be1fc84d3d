"""DenseNet: the paper's counts, and torchvision's net with its weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import DenseNet as Theirs

from models.build import build_net
from models.nets.densenet_bc import DenseLayer, DenseNet, Transition


@pytest.mark.parametrize(
    ("depth", "growth", "count"), [(40, 12, 176_122), (100, 12, 769_162), (250, 24, 15_324_406), (190, 40, 25_624_430)]
)
def test_published_counts(depth: int, growth: int, count: int) -> None:
    assert parameters(depth=depth, growth=growth) == count


@pytest.mark.parametrize(
    ("depth", "growth", "count"), [(40, 12, 1_019_722), (100, 12, 6_979_642), (100, 24, 27_249_082)]
)
def test_counts_without_bottleneck_and_compression(depth: int, growth: int, count: int) -> None:
    assert parameters(depth=depth, growth=growth, bottleneck=False, compression=1.0) == count


def parameters(**arguments: Any) -> int:
    with torch.device("meta"):
        net = build_net(name="densenet_bc", num_classes=10, in_channels=3, image_size=32, arguments=arguments)
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("depth", "bottleneck"), [(22, True), (13, False)])
def test_depth_is_the_number_of_weighted_layers(depth: int, bottleneck: bool) -> None:
    net = DenseNet(num_classes=10, in_channels=3, depth=depth, bottleneck=bottleneck)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in net.modules()) == depth


def test_logits_equal_torchvisions_with_its_weights(tmp_path: Path) -> None:
    """Behind a stem for small images; the weights come from a file, by their order."""
    torch.manual_seed(0)
    theirs = Theirs(growth_rate=6, block_config=(3, 3, 3), num_init_features=12, num_classes=10).eval()
    theirs.features.conv0 = nn.Conv2d(3, 12, 3, padding=1, bias=False)
    for name in ("norm0", "relu0", "pool0"):
        setattr(theirs.features, name, nn.Identity())
    for name, value in theirs.state_dict().items():
        if "running_var" not in name and value.is_floating_point():
            nn.init.normal_(value, std=0.2)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    arguments = {"depth": 22, "growth": 6}
    sizes: dict[str, Any] = {"num_classes": 10, "in_channels": 3, "image_size": 32}
    ours = build_net(
        name="densenet_bc", **sizes, arguments=arguments, weights=str(tmp_path / "theirs.pth"), weights_by_order=True
    ).eval()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


def test_a_layer_hands_on_what_it_was_given_beside_its_own_maps() -> None:
    layer = DenseLayer(in_channels=3, growth=2, bottleneck=True)
    maps = torch.rand(2, 3, 4, 4)
    out = layer(maps)
    assert out.shape == (2, 5, 4, 4)
    assert torch.equal(out[:, :3], maps)


def test_a_transition_halves_and_narrows() -> None:
    assert Transition(in_channels=8, out_channels=4)(torch.rand(2, 8, 6, 6)).shape == (2, 4, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 41}, r"6n \+ 4 with bottleneck \(such as 40 or 46\); got 41"),
        ({"depth": 42, "bottleneck": False}, r"3n \+ 4 without bottleneck \(such as 40 or 43\); got 42"),
        ({"depth": 4}, "such as 10 or 16.*got 4"),
        ({"growth": 0}, "at least 1; got 0"),
        ({"compression": 0.0}, "above 0 and at most 1; got 0.0"),
    ],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DenseNet(num_classes=10, in_channels=3, **arguments)
