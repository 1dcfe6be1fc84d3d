"""The VGG family: depth, counts, torchvision's net with its weights, and what is left of each image size."""

from typing import Any, Literal

import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from models.build import build_net
from models.nets.vgg_small import VGG

COUNTS = {11: 911_642, 13: 923_258, 16: 1_255_674, 19: 1_588_090}
LETTERS = {11: "A", 13: "B", 16: "D", 19: "E"}  # of the columns in the paper's table


@pytest.mark.parametrize("depth", COUNTS)
def test_depth_is_the_number_of_weighted_layers(depth: int) -> None:
    with torch.device("meta"):
        net = build_net(name=f"vgg{depth}_small", num_classes=10, in_channels=3, image_size=32)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in net.modules()) == depth
    assert sum(parameter.numel() for parameter in net.parameters()) == COUNTS[depth]


@pytest.mark.parametrize("depth", COUNTS)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_convolutions_with_torchvisions_weights_equal_its_own(depth: int, norm: Literal["batch", "none"]) -> None:
    """At a sixteenth of its width; before a norm torchvision has biases, which are zero here."""
    torch.manual_seed(0)
    maps: list[str | int] = [one if one == "M" else int(one) // 16 for one in cfgs[LETTERS[depth]]]
    theirs = make_layers(maps, batch_norm=norm == "batch").eval()
    tensors = theirs.state_dict()
    if norm == "batch":
        for name, module in theirs.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.zeros_(module.bias)
                del tensors[f"{name}.bias"]
    ours = VGG(num_classes=2, in_channels=3, depth=depth, width=4, norm=norm).body.eval()  # type: ignore[arg-type]
    ours.load_state_dict(dict(zip(ours.state_dict(), tensors.values(), strict=True)))
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [8, 28, 32])
def test_one_pixel_is_left(size: int) -> None:
    net = VGG(num_classes=10, in_channels=1, width=2)
    assert net.body(torch.rand(2, 1, size, size)).shape == (2, 16, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 12}, "11, 13, 16, 19; got 12"),
        ({"norm": "layer"}, "batch, none; got 'layer'"),
        ({"width": 0}, "at least 1; got 0"),
        ({"dropout": 1.0}, "below 1; got 1.0"),
    ],
)
def test_impossible_values_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VGG(num_classes=10, in_channels=3, **arguments)
