"""LeNet-5 of 1998: the paper's counts of weights and connections, the table, the poolings and the distances."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from models.build import build_net
from models.nets.lenet5_1998 import TABLE, LeNet51998, TableConv, TrainablePool, squashed
from models.stages import stages


def build(image_size: int = 32, **arguments: Any) -> LeNet51998:
    sizes = {"num_classes": 10, "in_channels": 1, "image_size": image_size}
    return build_net(name="lenet5_1998", **sizes, arguments=arguments)  # type: ignore[arg-type, return-value]


def count(*modules: torch.nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_parameters_are_the_papers() -> None:
    net = build(classifier="rbf")
    by_layer = [count(layer) for layer in (net.conv1, net.pool1, net.conv2, net.pool2, net.conv3, net.dense)]
    assert by_layer == [156, 12, 1_516, 32, 48_120, 10_164]
    assert count(net) == sum(by_layer) == 60_000
    assert count(build()) == 60_850
    assert count(build(trainable_pooling=False)) == 60_806


def test_connections_are_the_papers() -> None:
    """A weight or bias at each place where it is used; a pooled unit has four pixels and a bias."""
    net = build()
    shapes: dict[str, torch.Size] = {}
    for name in ("conv1", "pool1", "conv2", "pool2"):
        layer = getattr(net, name)
        layer.register_forward_hook(lambda *given, name=name: shapes.update({name: given[2].shape}))
    net(torch.rand(1, 1, 32, 32))
    assert [tuple(shape[1:]) for shape in shapes.values()] == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)]
    pairs = sum(len(row) for row in TABLE)
    found = [28**2 * 6 * 26, 14**2 * 6 * 5, 10**2 * (25 * pairs + 16), 5**2 * 16 * 5]
    assert found == [122_304, 5_880, 151_600, 2_000]


def test_the_table_has_each_map_in_ten_rows() -> None:
    assert [len(row) for row in TABLE] == [3] * 6 + [4] * 9 + [6]
    assert len(set(TABLE)) == 16
    assert [sum(number in row for row in TABLE) for number in range(6)] == [10] * 6


def test_a_map_sees_those_of_its_row_alone() -> None:
    torch.manual_seed(0)
    layer = TableConv()
    maps = torch.rand(2, 6, 9, 9)
    out = layer(maps)
    start = 0
    for number, row in enumerate(TABLE):
        kernels = layer.weight[start : start + len(row)][None]
        expected = F.conv2d(maps[:, list(row)], kernels, layer.bias[number : number + 1])
        torch.testing.assert_close(out[:, number : number + 1], expected)
        start += len(row)


def test_pooling_sums_scales_and_shifts() -> None:
    layer = TrainablePool(maps=2)
    maps = torch.rand(1, 2, 4, 4)
    torch.testing.assert_close(layer(maps), F.avg_pool2d(maps, 2))
    with torch.no_grad():
        layer.coefficient[1] = 2.0
        layer.bias[1] = 5.0
    torch.testing.assert_close(layer(maps)[0, 1, 0, 0], 2 * maps[0, 1, :2, :2].sum() + 5)


def test_the_tanh_is_one_at_one() -> None:
    torch.testing.assert_close(
        squashed(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([-1.0, 0.0, 1.0]), atol=1e-4, rtol=0
    )


def test_distances_to_the_codes_are_the_output() -> None:
    torch.manual_seed(0)
    net = build(classifier="rbf").eval()
    assert set(net.codes.unique().tolist()) == {-1.0, 1.0} and net.codes.shape == (10, 84)
    assert len({tuple(row) for row in net.codes.tolist()}) == 10
    assert torch.equal(net.codes, build(classifier="rbf").codes), "the same in each run"
    features: list[torch.Tensor] = []
    net.dense.register_forward_hook(lambda *given: features.append(squashed(given[2])))
    logits = net(torch.rand(3, 1, 32, 32))
    torch.testing.assert_close(logits, -(torch.cdist(features[0], net.codes) ** 2), atol=1e-3, rtol=1e-4)
    assert stages(net)[-1].name == "head" and list(stages(net)[-1].parameters) == ["dense.weight", "dense.bias"]


def test_28_pixels_are_the_middle_of_32() -> None:
    small, large = build(28), build(32)
    large.load_state_dict(small.state_dict())
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(small(images), large(F.pad(images, (2, 2, 2, 2))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"image_size": 30}, "28 or 32 pixels; got image_size 30"), ({"classifier": "mlp"}, "linear, rbf; got 'mlp'")],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LeNet51998(**{"num_classes": 10, "in_channels": 1, "image_size": 28, **arguments})
