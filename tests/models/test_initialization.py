"""Starts of weights: the variance that each rule promises, layer by layer, in nets of all three sources."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from engine.data_and_task import build_task
from models.build import build_net
from models.initialization import DEFAULT, RULES, initialize
from settings.errors import UserError
from settings.preprocessing import Preprocessing
from settings.reading.compose import compose

NETS: dict[str, dict[str, Any]] = {
    "own": {"name": "resnet20", "image_size": 16},
    "transformer": {"name": "vit_tiny_32", "image_size": 16},
    "torchvision": {"name": "shufflenet_v2_x0_5", "image_size": 64},
    "timm": {"name": "test_vit", "source": "timm", "image_size": 160},
}


def layers(net: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


def build(which: str, rule: str) -> nn.Module:
    torch.manual_seed(0)
    return build_net(num_classes=10, in_channels=3, initialization=rule, **NETS[which])


@pytest.mark.parametrize("which", NETS)
@pytest.mark.parametrize("rule", ["kaiming", "xavier"])
def test_each_layer_has_the_variance_that_its_rule_promises(which: str, rule: str) -> None:
    net = build(which, rule)
    assert layers(net)
    for name, layer in layers(net).items():
        outputs, inputs = layer.weight.shape[0], layer.weight[0].numel()
        fan_out = outputs * layer.weight[0, 0].numel()
        promised = 2 / inputs if rule == "kaiming" else 2 / (inputs + fan_out)
        count = layer.weight.numel()
        # The mean square of n normal draws has a relative deviation of sqrt(2 / n): five of them.
        found = layer.weight.detach().double().square().mean().item() / promised
        assert abs(found - 1) < 5 * (2 / count) ** 0.5, name
        assert layer.bias is None or not layer.bias.any(), name


@pytest.mark.parametrize("which", NETS)
def test_orthogonal_layers_keep_lengths(which: str) -> None:
    for name, layer in layers(build(which, "orthogonal")).items():
        matrix = layer.weight.detach().flatten(1).double()
        matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.T
        assert (matrix @ matrix.T - torch.eye(len(matrix))).abs().max() < 1e-5, name


def test_queries_keys_and_values_are_three_layers() -> None:
    attention = nn.MultiheadAttention(32, 2)
    nn.init.ones_(attention.in_proj_bias)
    initialize(attention, "orthogonal")
    for part in attention.in_proj_weight.detach().chunk(3):
        torch.testing.assert_close(part @ part.T, torch.eye(32), atol=1e-5, rtol=0)
    assert not attention.in_proj_bias.any()


def test_default_leaves_the_net_and_the_draws_behind_it_as_they_are() -> None:
    torch.manual_seed(0)
    plain = build_net(num_classes=10, in_channels=3, **NETS["own"])
    behind = torch.rand(1)
    again = build("own", DEFAULT)
    assert torch.equal(torch.rand(1), behind)
    for key, value in plain.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    assert not torch.equal(build("own", "xavier").state_dict()["conv.weight"], plain.state_dict()["conv.weight"])


def test_what_is_no_layer_keeps_its_start() -> None:
    """Norms, positions and fixed filters."""
    fixed = {"num_classes": 10, "in_channels": 1, "image_size": 28, "name": "filters"}
    bank = build_net(**fixed).state_dict()["filters.weight"]  # type: ignore[arg-type]
    net = build_net(**fixed, initialization="kaiming")  # type: ignore[arg-type]
    assert torch.equal(net.state_dict()["filters.weight"], bank)
    started = build("transformer", "kaiming")
    assert started.norm.weight.eq(1).all() and started.embedding.pos_embed.std().item() == pytest.approx(0.02, rel=0.2)  # type: ignore[union-attr]


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="kaiming"):
        initialize(nn.Linear(2, 2), "kaimin")
    with pytest.raises(UserError, match="BatchNorm2d has no convolution and no linear layer"):
        initialize(nn.BatchNorm2d(2), "xavier")
    with pytest.raises(UserError, match="initialization"):
        compose(["model.initialization=he"])
    with pytest.raises(UserError, match=r"model\.initialization=kaiming: transfer=full starts from weights"):
        compose(["model=resnet18", "transfer=full", "model.initialization=kaiming"])
    random = compose(["model=resnet18", "transfer=full", "transfer.allow_random=true", "model.initialization=kaiming"])
    assert (random.model.weights, random.model.initialization) == ("none", "kaiming")


def test_the_configuration_knows_the_rules_and_a_run_starts_by_them() -> None:
    data = SimpleNamespace(class_names=["a", "b", "c"], training_images=list, fingerprint=str, asks_net=False)
    how = Preprocessing(image_size=8, resize=8, interpolation="bilinear", channels=1, mean=(0.5,), std=(0.5,))
    for rule in (DEFAULT, *RULES):
        config = compose([f"model.initialization={rule}", "model=resnet20", "model.depth=8"])
        assert config.model.initialization == rule
        started = build_task(config, data, how).net.state_dict()["stage3.0.conv2.weight"].flatten(1)
        torch.manual_seed(config.seed)
        sizes: dict[str, Any] = {"num_classes": 3, "in_channels": 1, "image_size": 8, "arguments": {"depth": 8}}
        expected = build_net(name="resnet20", **sizes, initialization=rule).state_dict()["stage3.0.conv2.weight"]
        assert torch.equal(started, expected.flatten(1)), rule
