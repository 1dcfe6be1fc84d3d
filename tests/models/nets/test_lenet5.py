"""LeNet-5: the known count, the variants, and the sizes."""

import pytest
import torch

from models.nets.lenet5 import LeNet5


@pytest.mark.parametrize("image_size", [28, 32])
def test_parameter_count(image_size: int) -> None:
    net = LeNet5(num_classes=10, in_channels=1, image_size=image_size)
    by_layer = [6 * 25 + 6, 16 * 6 * 25 + 16, 400 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10]
    assert sum(parameter.numel() for parameter in net.parameters()) == sum(by_layer) == 61_706


def test_28_pixels_are_the_middle_of_32() -> None:
    """Padding by 2 is the paper's way of putting a 28-pixel digit into 32 pixels."""
    small = LeNet5(num_classes=10, in_channels=1, image_size=28)
    large = LeNet5(num_classes=10, in_channels=1, image_size=32)
    large.load_state_dict(small.state_dict())
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(small(images), large(torch.nn.functional.pad(images, (2, 2, 2, 2))))


def test_activation_and_pool_change_the_output() -> None:
    outputs = []
    for activation, pool in [("tanh", "avg"), ("sigmoid", "avg"), ("relu", "avg"), ("tanh", "max")]:
        torch.manual_seed(0)
        net = LeNet5(num_classes=10, in_channels=1, image_size=28, activation=activation, pool=pool)
        outputs.append(net(torch.linspace(0, 1, 784).reshape(1, 1, 28, 28)))
    assert not any(torch.allclose(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 30}, "28 or 32 pixels; got image_size 30"),
        ({"activation": "swish"}, "tanh, sigmoid, relu; got 'swish'"),
        ({"pool": "min"}, "avg, max; got 'min'"),
    ],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LeNet5(**{"num_classes": 10, "in_channels": 1, "image_size": 28, **arguments})
