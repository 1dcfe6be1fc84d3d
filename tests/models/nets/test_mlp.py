"""MLP and softmax regression against hand counts, each other and torch's own linear layer."""

import pytest
import torch

from models.nets.mlp import MLP
from models.nets.softmax import Softmax


def test_softmax_regression_is_one_linear_layer_on_the_pixels() -> None:
    net = Softmax(num_classes=10, in_channels=1, image_size=28)
    assert sum(parameter.numel() for parameter in net.parameters()) == 28 * 28 * 10 + 10
    images = torch.rand(2, 1, 28, 28)
    by_hand = images.reshape(2, 784) @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(images), by_hand)


def test_an_mlp_without_hidden_layers_is_softmax_regression() -> None:
    mlp = MLP(num_classes=4, in_channels=3, image_size=6, widths=())
    softmax = Softmax(num_classes=4, in_channels=3, image_size=6)
    softmax.load_state_dict(mlp.state_dict())
    images = torch.rand(2, 3, 6, 6)
    assert torch.equal(mlp(images), softmax(images))


def test_mlp_parameter_count() -> None:
    net = MLP(num_classes=10, in_channels=1, image_size=28)
    by_layer = [784 * 256 + 256, 256 * 128 + 128, 128 * 10 + 10]
    assert sum(parameter.numel() for parameter in net.parameters()) == sum(by_layer) == 235_146


def test_activation_and_dropout_reach_the_layers() -> None:
    net = MLP(num_classes=2, in_channels=1, image_size=4, widths=(5,), activation="tanh", dropout=0.25)
    assert [type(part) for part in net.hidden[0]] == [torch.nn.Linear, torch.nn.Tanh, torch.nn.Dropout]
    assert net.hidden[0][2].p == 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "x"}, "got 'x'"),
        ({"dropout": 1.0}, "below 1; got 1.0"),
        ({"widths": (8, 0)}, r"\[8, 0\]"),
    ],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLP(num_classes=2, in_channels=1, image_size=4, **arguments)
