"""Frozen features and the probes: what the head reads, and what probes say of data with known answers."""

import pytest
import torch

from models.analysis.separability import head_inputs, pixel_features, probe
from models.build import build_net
from models.stages import stages


@pytest.mark.parametrize(
    ("name", "source", "size"),
    [
        ("lenet5", "own", 28),
        ("resnet20", "own", 16),
        ("squeezenet1_1", "torchvision", 64),
        ("vit_tiny_patch16_224", "timm", 32),
    ],
)
def test_features_are_what_the_head_reads(name, source, size):
    torch.manual_seed(0)
    net = build_net(name=name, source=source, num_classes=4, in_channels=3, image_size=size).train()
    images = torch.randn(5, 3, size, size)
    found = head_inputs(net, images.split(2))
    assert found.shape[0] == 5 and found.ndim == 2
    assert net.training and not any(module._forward_pre_hooks for module in net.modules())
    head = net.get_submodule(list(stages(net)[-1].parameters)[-1].rpartition(".")[0])
    net.eval()
    with torch.no_grad():
        expected = net(images)
        if isinstance(head, torch.nn.Linear):
            torch.testing.assert_close(head(found), expected)
        else:  # a convolution, then a rectifier and a mean: not a function of the mean alone
            assert found.shape[1] == head.in_channels


def test_probes_on_data_with_known_answers():
    draws = torch.Generator().manual_seed(0)
    targets = torch.arange(300) % 3
    noise = torch.randn(300, 10, generator=draws)
    apart = noise.clone()
    apart[:, :3] += 8 * torch.nn.functional.one_hot(targets, 3)
    found = probe(apart, targets)
    assert (found.linear, found.neighbours) == (1.0, 1.0) and (found.features, found.images) == (10, 300)
    chance = probe(noise, targets)
    assert 0.2 < chance.linear < 0.47 and 0.2 < chance.neighbours < 0.47
    assert chance.error == pytest.approx((chance.linear * (1 - chance.linear) / 300) ** 0.5)
    scaled = apart * torch.tensor([1e4, *[1.0] * 8, 1e-4])
    assert probe(scaled, targets).linear == 1.0, "standardised"
    ring = torch.randn(300, 2, generator=draws)
    ring = ring / ring.norm(dim=1, keepdim=True) * (1 + 4 * (targets[:, None] % 2))
    assert probe(ring, targets % 2).neighbours > 0.95 > probe(ring, targets % 2).linear, "no line parts a ring"
    assert probe(apart[:4], torch.tensor([0, 0, 0, 1])) is None
    assert probe(apart[:4], torch.tensor([0, 0, 1, 1])) is not None


def test_pixels_are_averaged_down():
    images = torch.arange(64 * 64).remainder(251).to(torch.uint8).reshape(1, 1, 64, 64)
    features = pixel_features(images)
    assert features.shape == (1, 1024)
    assert features[0, 0] == pytest.approx(images[0, 0, :2, :2].float().mean() / 255)
    assert pixel_features(images[..., :8, :8]).shape == (1, 64)
