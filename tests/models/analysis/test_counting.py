"""Parameters and multiply-accumulates against published figures, hand counts and torch's counter."""

import pytest
import torch
from torch import nn

from models.analysis import counting
from models.analysis.net_table import layer_rows, layers_said, net_row, without_values

PUBLISHED = {  # torchvision's tables: parameters, and 1e9 multiply-accumulates for one 224 x 224 image
    "resnet50": (25_557_032, 4.089),
    "vgg16": (138_357_544, 15.47),
    "mobilenet_v2": (3_504_872, 0.301),
    "efficientnet_b0": (5_288_548, 0.386),
    "vit_b_16": (86_567_656, 17.564),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures_by_counter_and_by_formula(name):
    net, image = without_values(name=name, num_classes=1000, in_channels=3, image_size=224)
    found = counting.layers(net, image)
    size, work = PUBLISHED[name]
    assert counting.parameters(net) == sum(row.weights for row in found) == size
    counted = counting.macs(net, image)
    assert counted == sum(row.macs for row in found)
    assert counted / 1e9 == pytest.approx(work, rel=2e-3)
    assert not any(row.counted for row in found), "all by formula"


@pytest.mark.parametrize("name", ["swin_t", "vit_tiny_patch16_224", "alexnet"])
def test_attention_in_functions_is_the_counters(name):
    net, image = without_values(name=name, num_classes=10, in_channels=3, image_size=224)
    found = counting.layers(net, image)
    assert sum(row.weights for row in found) == counting.parameters(net)
    alone = [row for row in found if row.counted]
    assert bool(alone) == (name != "alexnet") and all("ttention" in row.kind for row in alone)
    said = "\n".join(layers_said(name, net, image, found))
    assert said.endswith("the same") and ("stand in no layer" in said) == bool(alone)


def test_layers_of_a_net_counted_by_hand():
    net, image = without_values(name="lenet5", num_classes=10, in_channels=1, image_size=32)
    rows = {row.name: row for row in counting.layers(net, image)}
    assert (rows["conv1"].output, rows["conv1"].weights, rows["conv1"].macs) == ((6, 28, 28), 156, 28 * 28 * 6 * 25)
    assert (rows["conv2"].output, rows["conv2"].macs) == ((16, 10, 10), 10 * 10 * 16 * 6 * 25)
    assert (rows["dense1"].weights, rows["dense1"].macs) == (48_120, 400 * 120)
    assert rows["head"].macs == 84 * 10 and rows["pool"].weights == rows["pool"].macs == 0
    reached = [row.name for row in counting.layers(net, image)]
    assert reached[:6] == ["conv1", "activation", "pool", "conv2", "activation", "pool"]
    assert ("conv1", "Conv2d", "6x28x28", 156, 117_600, False) in layer_rows(counting.layers(net, image))


class Odd(nn.Module):
    """A grouped and a transposed convolution, a layer used twice, a free parameter and a product in between."""

    def __init__(self):
        super().__init__()
        self.groups = nn.Conv2d(4, 8, 3, groups=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.twice = nn.Linear(16, 16)
        self.free = nn.Parameter(torch.zeros(16, 16))

    def forward(self, images):
        maps = self.up(self.groups(images))
        return self.twice(self.twice(maps)) @ self.free


def test_odd_layers_by_hand():
    net, image = Odd(), torch.zeros(1, 4, 8, 8)
    net.train()
    found = counting.layers(net, image)
    rows = [(row.name, row.macs, row.weights) for row in found]
    assert rows == [
        ("", 4 * 16 * 16 * 16, 256),
        ("groups", 8 * 8 * 8 * 2 * 9, 8 * 2 * 9 + 8),
        ("up", 8 * 8 * 8 * 4 * 4, 8 * 4 * 4 + 4),
        ("twice", 4 * 16 * 16 * 16, 272),
        ("twice", 4 * 16 * 16 * 16, 0),
    ]
    assert sum(macs for _, macs, _ in rows) == counting.macs(net, image)
    assert net.training and not any(module._forward_hooks for module in net.modules())
    assert counting.megabytes(net) == pytest.approx(4 * counting.parameters(net) / 1e6)


def test_a_row_of_the_comparison_and_its_text():
    row = net_row("resnet20", {"num_classes": 10, "in_channels": 3, "image_size": 32}, repeats=3, accuracy="x 0.9 (1)")
    assert row[:5] == ("resnet20", "3x32x32", 269_722, 40_551_040, "1.1") and row[6] == "x 0.9 (1)"
    assert 0 < float(row[5]) < 5000
    untimed = net_row("lenet5", {"num_classes": 10, "in_channels": 3, "image_size": 32}, repeats=0, accuracy="")
    assert untimed[5] == ""
