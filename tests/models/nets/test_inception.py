"""Small inception net: GoogLeNet's modules, what a bottleneck saves, and the auxiliary heads."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.googlenet import Inception as Theirs

from models.build import build_net
from models.nets.inception import ROWS, Inception, InceptionSmall, conv_norm
from models.tasks.classification import Classification


def count(**arguments: object) -> int:
    with torch.device("meta"):
        net = build_net(name="inception_small", num_classes=10, in_channels=3, image_size=32, arguments=arguments)
    return sum(parameter.numel() for parameter in net.parameters())


def test_parameter_counts() -> None:
    assert count() == 177_378
    at_4a, at_4d = ((row[0] + row[2] + row[4] + row[5]) // 4 for row in (ROWS["4a"], ROWS["4d"]))
    assert count(auxiliary_heads=True) == 177_378 + 10 * (at_4a + at_4d + 2) == 179_998
    assert count(bottleneck=False) == 575_218


def test_maps_of_the_modules_are_googlenets() -> None:
    with torch.device("meta"):
        modules = [Inception(in_channels=1, maps=row, bottleneck=True) for row in ROWS.values()]
    assert [module.out_channels for module in modules] == [256, 480, 512, 528, 1024]


def test_a_module_equals_torchvisions_with_its_weights() -> None:
    """torchvision has 3x3 where the paper has 5x5, and another epsilon: both are put in before comparing."""
    torch.manual_seed(0)
    theirs = Theirs(8, 4, 3, 6, 2, 5, 7)
    theirs.branch3[1].conv = nn.Conv2d(2, 5, 5, padding=2, bias=False)
    ours = Inception(in_channels=8, maps=(4, 3, 6, 2, 5, 7), bottleneck=True)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    maps = torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(ours(maps), theirs(maps), atol=1e-5, rtol=1e-5)


def test_a_bottleneck_cuts_multiplications_to_a_tenth() -> None:
    found = []
    for parts in ([conv_norm(192, 32, 5)], [conv_norm(192, 16, 1), conv_norm(16, 32, 5)]):
        with torch.device("meta"):
            branch = nn.Sequential(*parts)
        with FlopCounterMode(display=False) as counter:
            branch.to("meta")(torch.zeros(1, 192, 28, 28, device="meta"))
        found.append(counter.get_total_flops() // 2)
    assert found == [120_422_400, 12_443_648]


def test_auxiliary_heads_count_in_training_and_rest_in_evaluation() -> None:
    torch.manual_seed(0)
    net = InceptionSmall(num_classes=4, in_channels=3, width=0.1, auxiliary_heads=True)
    task = Classification(net=net, class_names="abcd", optimizer={}, scheduler={}, loss={"auxiliary_weight": 0.4})
    task.train()
    task._start("train")
    images, targets = torch.rand(3, 3, 16, 16), torch.tensor([1, 3, 0])
    loss = task.training_step((images, targets), 0)
    main, *others = (cross_entropy(each, targets) for each in net(images))
    assert len(others) == 2
    torch.testing.assert_close(loss, main + 0.4 * sum(others))
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.eval()(images).shape == (3, 4)


def test_the_bottleneck_is_left_out_on_request() -> None:
    module = Inception(in_channels=8, maps=(4, 3, 6, 2, 5, 7), bottleneck=False)
    kernels = [part.kernel_size for part in module.modules() if isinstance(part, nn.Conv2d)]
    assert kernels == [(1, 1), (3, 3), (5, 5), (1, 1)]
    assert module(torch.rand(2, 8, 6, 6)).shape == (2, 22, 6, 6)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 0; got 0"):
        InceptionSmall(num_classes=10, in_channels=3, width=0.0)
