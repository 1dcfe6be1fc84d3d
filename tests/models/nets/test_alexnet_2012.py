"""AlexNet of 2012: the paper's counts and shapes, its norm by its formula, and its two groups."""

from typing import Any

import pytest
import torch

from models.build import build_net
from models.nets.alexnet_2012 import AlexNet2012


def build(name: str = "alexnet_2012", classes: int = 1000, **arguments: Any) -> AlexNet2012:
    sizes = {"num_classes": classes, "in_channels": 3, "image_size": 227}
    return build_net(name=name, **sizes, arguments=arguments)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(("groups", "count"), [(1, 62_378_344), (2, 60_965_224)])
def test_parameters_and_shapes_are_the_papers(groups: int, count: int) -> None:
    with torch.device("meta"):
        net = build(groups=groups)
    assert sum(parameter.numel() for parameter in net.parameters()) == count
    shapes: list[tuple[int, ...]] = []
    for layer in (net.conv1, net.conv2, net.conv3, net.conv4, net.conv5, net.pool):
        layer.register_forward_hook(lambda *given: shapes.append(tuple(given[2].shape[1:])))
    net(torch.zeros(1, 3, 227, 227, device="meta"))
    assert shapes == [
        *((96, 55, 55), (96, 27, 27), (256, 27, 27), (256, 13, 13)),
        *((384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)),
    ]


def test_response_norm_is_the_papers_formula() -> None:
    """b = a / (2 + 1e-4 * sum of squares over five neighbouring maps) ** 0.75."""
    maps = 100 * torch.rand(1, 8, 3, 3)
    expected = torch.empty_like(maps)
    for number in range(8):
        near = maps[:, max(0, number - 2) : number + 3]
        expected[:, number] = maps[:, number] / (2 + 1e-4 * near.square().sum(dim=1)) ** 0.75
    torch.testing.assert_close(build("alexnet_tiny").response_norm(maps), expected)


def test_the_norm_stands_behind_the_first_two_relus() -> None:
    net = build("alexnet_tiny").eval()
    seen: list[torch.Tensor] = []
    net.response_norm.register_forward_hook(lambda *given: seen.append(given[1][0]))
    net(torch.rand(1, 3, 227, 227))
    assert [tuple(maps.shape[1:]) for maps in seen] == [(8, 55, 55), (16, 27, 27)]
    assert all(maps.min() == 0 for maps in seen)


def test_a_group_sees_its_half_of_the_maps_and_the_third_convolution_all() -> None:
    net = build("alexnet_tiny", groups=2)
    assert [layer.groups for layer in (net.conv1, net.conv2, net.conv3, net.conv4, net.conv5)] == [1, 2, 1, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 224}, "227 pixels; got image_size 224"),
        ({"groups": 3}, "1 or 2.*got 3"),
        ({"groups": 2, "widths": (8, 15, 8, 8, 8)}, r"divide the widths; got 2 and \[8, 15"),
        ({"widths": (8, 8)}, r"five.*got \[8, 8\]"),
        ({"dropout": 1.0}, "below 1; got 1.0"),
    ],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlexNet2012(**{"num_classes": 2, "in_channels": 3, "image_size": 227, **arguments})
