"""Input adaptation keeps what the weights mean: on what layers compute, and against timm's conversion."""

import pytest
import torch
import torchvision
from torch import nn

from models.inputs import adapt_input, adapt_weight, first_layer
from models.nets.mlp import MLP


def test_three_to_one_gives_what_three_equal_channels_gave() -> None:
    conv, adapted = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3)
    adapted.weight.data = adapt_weight(conv.weight.data, have=3, want=1)
    adapted.bias.data = conv.bias.data
    grey = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(adapted(grey), conv(grey.repeat(1, 3, 1, 1)))


def test_one_to_three_gives_on_equal_channels_what_the_one_gave() -> None:
    conv, adapted = nn.Conv2d(1, 4, 3), nn.Conv2d(3, 4, 3)
    adapted.weight.data = adapt_weight(conv.weight.data, have=1, want=3)
    adapted.bias.data = conv.bias.data
    grey = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(adapted(grey.repeat(1, 3, 1, 1)), conv(grey))


def test_dense_layers_on_flattened_images_are_adapted_alike() -> None:
    colour = MLP(num_classes=3, in_channels=3, image_size=5).eval()
    grey = MLP(num_classes=3, in_channels=1, image_size=5).eval()
    state = colour.state_dict()
    state["hidden.0.0.weight"] = adapt_weight(state["hidden.0.0.weight"], have=3, want=1)
    grey.load_state_dict(state)
    images = torch.rand(2, 1, 5, 5)
    torch.testing.assert_close(grey(images), colour(images.repeat(1, 3, 1, 1)))
    back = adapt_weight(state["hidden.0.0.weight"], have=1, want=3)
    torch.testing.assert_close(adapt_weight(back, have=3, want=1), state["hidden.0.0.weight"])


def test_three_to_one_equals_timm() -> None:
    from timm.models import adapt_input_conv

    weight = torch.randn(4, 3, 7, 7)
    torch.testing.assert_close(adapt_weight(weight, have=3, want=1), adapt_input_conv(1, weight))


def test_other_channel_counts_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="from 3 to 4"):
        adapt_weight(torch.zeros(2, 3, 3, 3), have=3, want=4)
    assert adapt_weight(torch.zeros(2, 4, 3, 3), have=4, want=4).shape == (2, 4, 3, 3)


NETS = "alexnet vgg11 googlenet inception_v3 resnet18 densenet121 squeezenet1_1 mobilenet_v3_small mnasnet0_5"
NETS += " efficientnet_b0 shufflenet_v2_x0_5 convnext_tiny vit_b_32 swin_t maxvit_t"


@pytest.mark.parametrize("name", NETS.split())
def test_the_first_layer_of_torchvision_nets_is_the_one_that_sees_the_image(name: str) -> None:
    kinds = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
    with torch.device("meta"):
        net = torchvision.models.get_model(name, weights=None, **kinds.get(name, {})).eval()
    seen: list[str] = []
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_pre_hook(lambda *_, path=path: seen.append(path))
    size = 299 if name == "inception_v3" else 224
    net(torch.zeros(1, 3, size, size, device="meta"))
    assert first_layer(net)[0] == seen[0]


def test_adapt_input_changes_the_net_in_place() -> None:
    net = torchvision.models.squeezenet1_1(num_classes=2).eval()
    images = torch.rand(1, 1, 64, 64)
    before = net(images.repeat(1, 3, 1, 1))
    adapt_input(net, in_channels=1)
    assert first_layer(net)[1].in_channels == 1
    torch.testing.assert_close(net(images), before, rtol=1e-4, atol=1e-5)


def test_a_net_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="no convolution and no dense layer"):
        first_layer(nn.ReLU())
