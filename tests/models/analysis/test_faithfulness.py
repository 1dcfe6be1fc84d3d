"""Deletion and insertion curves against the closed form of a linear net; stage maps against a net cut by hand."""

import pytest
import torch
from torch import nn

from models.analysis.faithfulness import area, pixel_curves
from models.analysis.stage_maps import stage_maps
from models.analysis.wanted_score import wanted_score
from tests.models.analysis.nets import images, small_net

WANTED = torch.tensor([1, 3])


def test_a_linear_net_loses_what_is_deleted_in_order():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5)).eval()
    shown = images(size=8)
    parts = (net[1].weight.detach()[WANTED].view(2, 3, 8, 8) * shown).sum(dim=1)
    deletion, insertion = pixel_curves(net, shown, WANTED, parts, steps=8)
    whole = wanted_score(net(shown), WANTED).detach()
    taken = parts.flatten(1).sort(dim=1, descending=True).values.cumsum(dim=1)[:, 7::8]
    assert torch.allclose(deletion[:, 1:], whole[:, None] - taken, atol=1e-5)
    assert torch.allclose(insertion[:, 1:], net[1].bias.detach()[WANTED][:, None] + taken, atol=1e-5)
    assert torch.allclose(deletion[:, 0], whole) and torch.allclose(insertion[:, -1], whole, atol=1e-5)
    chance = [area(one) for one in pixel_curves(net, shown, WANTED, torch.rand(2, 8, 8), steps=8)]
    assert (area(deletion) < chance[0]).all() and (area(insertion) > chance[1]).all(), "the best order there is"
    worst = [area(one) for one in pixel_curves(net, shown, WANTED, -parts, steps=8)]
    assert (worst[0] > chance[0]).all() and (worst[1] < chance[1]).all()


def test_the_area_of_a_line_is_its_middle():
    assert area(torch.linspace(2, 4, 9)[None]).item() == pytest.approx(3)


def test_a_coarse_map_is_enlarged_to_the_image():
    net = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(3 * 4, 2)).eval()
    shown = torch.ones(1, 3, 8, 8)
    coarse = torch.tensor([[[9.0, 0.0], [0.0, 0.0]]])
    deletion, _ = pixel_curves(net, shown, torch.tensor([1]), coarse, steps=4)
    without = shown.clone()
    values = torch.nn.functional.interpolate(coarse[:, None], (8, 8), mode="bilinear")[0, 0]
    without[..., values >= values.flatten().sort(descending=True).values[15]] = 0
    assert (without == 0)[0, 0].sum() == 16
    assert torch.allclose(deletion[0, 1], net(without)[0, 1])


def test_stage_maps_are_the_stages_outputs():
    net, shown = small_net("resnet20"), images()
    found = stage_maps(net, shown)
    assert list(found) == ["stem", "stage1", "stage2", "stage3"]
    assert torch.allclose(net.stage3(net.stage2(found["stage1"])), found["stage3"], atol=1e-6)
    tokens = stage_maps(small_net("torchvision vit"), shown)
    assert tokens["block2"].shape == (2, 16, 4, 4)
    assert not any(one._forward_hooks for one in net.modules())
