"""U-Net: published counts and sizes, upsampling against torch's own operations, mirroring against NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.build import build_net
from models.nets.unet import UNet, bed_of_nails, max_unpool, mirrored
from settings.errors import UserError

UPSAMPLINGS = ("nearest", "bed_of_nails", "max_unpool", "transposed", "bilinear")


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def build(name: str, classes: int, size: int, **arguments: Any) -> UNet:
    return build_net(name=name, num_classes=classes, in_channels=1, image_size=size, arguments=arguments)  # type: ignore[return-value]


def test_the_published_net_has_its_parameters_and_sizes():
    with torch.device("meta"):
        net = build("unet_2015", 2, 388)
        assert count(net) == 31_030_658
        assert sum(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in net.modules()) == 23
        assert net.unpadded(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)
        assert net(torch.zeros(1, 1, 388, 388)).shape == (1, 2, 388, 388)
        with_norm = build_net(
            name="unet_2015", num_classes=2, in_channels=3, image_size=64, arguments={"norm": "batch", "patch": 1}
        )
    # Batch norm has two parameters where the eighteen convolutions 3x3 had a bias.
    assert count(with_norm) == 31_037_698


def test_the_small_net_has_its_parameters():
    assert count(build("unet_small", 11, 64)) == 266_075


def test_the_image_lies_in_the_middle_of_its_mirrored_rim():
    net = build("unet_2015", 2, 388, widths=[4, 4, 4, 4, 4])
    assert net.rim(388) == (92, 92)
    images = torch.rand(1, 1, 50, 70)
    front, behind = net.rim(50)
    above, below = net.rim(70)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (front, behind), (above, below)), mode="reflect")
    seen = net.unpadded(torch.from_numpy(padded))
    torch.testing.assert_close(net(images), seen[:, :, :50, :70])
    # A pixel's class comes from what is around it: a change reaches its own place.
    images[0, 0, 20, 30] += 1
    changed = (net(images) - seen[:, :, :50, :70]).abs().sum(dim=(0, 1))
    assert changed[20, 30] > 0


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("rim", [(0, 0), (0, 3), (7, 4), (23, 0)])
def test_mirroring_is_numpys(length, rim):
    images = torch.rand(2, 3, length, 4)
    expected = np.pad(images.numpy(), ((0, 0), (0, 0), rim, (0, 0)), mode="reflect" if length > 1 else "edge")
    assert np.array_equal(mirrored(images, dim=2, rim=rim).numpy(), expected)
    assert np.array_equal(mirrored(images.mT, dim=3, rim=rim).mT.numpy(), expected)


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_any_size_gives_a_class_a_pixel_and_every_parameter_a_gradient(upsample):
    torch.manual_seed(0)
    net = build("unet_small", 3, 16, upsample=upsample, widths=[8, 12, 16])
    for height, width in ((16, 16), (17, 30), (1, 9)):
        net.zero_grad()
        logits = net(torch.rand(4, 1, height, width))
        assert logits.shape == (4, 3, height, width)
        targets = torch.randint(3, (4, height, width))
        F.cross_entropy(logits, targets).backward()
    net.zero_grad()
    F.cross_entropy(net(torch.rand(4, 1, 16, 16)), torch.randint(3, (4, 16, 16))).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def up(upsample: str, features: torch.Tensor) -> torch.Tensor:
    """What the decoder's block sees behind the encoder's maps, with a convolution 1x1 that changes nothing."""
    channels = features.shape[1]
    net = UNet(num_classes=2, in_channels=1, widths=(channels, channels), patch=1, upsample=upsample)  # type: ignore[arg-type]
    level = net.decoder[0]
    if upsample != "transposed":
        nn.init.dirac_(level.reduce.weight)  # type: ignore[arg-type, union-attr]
        nn.init.zeros_(level.reduce.bias)  # type: ignore[arg-type, union-attr]
    seen = []
    level.block.register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # type: ignore[operator, union-attr]
    skip = torch.rand(len(features), channels, 2 * features.shape[2], 2 * features.shape[3])
    places = F.max_pool2d(skip, 2, return_indices=True)[1]
    level(features, skip, places)
    assert torch.equal(seen[0][:, :channels], skip)
    if upsample == "max_unpool":
        assert torch.equal(seen[0][:, channels:], F.max_unpool2d(features, places, 2))
    if upsample == "transposed":
        weight, bias = level.reduce.weight, level.reduce.bias  # type: ignore[union-attr]
        kernel = weight.flip(2, 3).transpose(0, 1)
        nails = F.pad(bed_of_nails(features), (1, 0, 1, 0))
        torch.testing.assert_close(seen[0][:, channels:], F.conv2d(nails, kernel, bias))  # type: ignore[arg-type]
    return seen[0][:, channels:]


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_upsampling_is_what_its_name_says(upsample):
    torch.manual_seed(0)
    features = torch.rand(2, 4, 5, 6)
    found = up(upsample, features)
    if upsample == "nearest":
        ones = torch.ones(4, 1, 2, 2)
        assert torch.equal(found, F.conv_transpose2d(features, ones, stride=2, groups=4))
    elif upsample == "bed_of_nails":
        one_hot = torch.zeros(4, 1, 2, 2)
        one_hot[:, :, 0, 0] = 1
        assert torch.equal(found, F.conv_transpose2d(features, one_hot, stride=2, groups=4))
    elif upsample == "bilinear":
        tent = torch.tensor([1.0, 3, 3, 1]) / 4
        kernel = (tent[:, None] * tent).expand(4, 1, 4, 4)
        replicated = F.pad(features, (1, 1, 1, 1), mode="replicate")
        expected = F.conv_transpose2d(replicated, kernel, stride=2, padding=3, groups=4)
        torch.testing.assert_close(found, expected)


def test_transposed_convolution_is_bed_of_nails_then_convolution():
    features, weight = torch.rand(2, 4, 5, 6), torch.rand(4, 3, 3, 3)
    expected = F.conv_transpose2d(features, weight, stride=2, padding=1, output_padding=1)
    found = F.conv2d(bed_of_nails(features), weight.flip(2, 3).transpose(0, 1), padding=1)
    torch.testing.assert_close(found, expected)


def test_max_unpooling_puts_maxima_back():
    pooled, places = F.max_pool2d(torch.rand(2, 3, 8, 6), 2, return_indices=True)
    assert torch.equal(max_unpool(pooled, places), F.max_unpool2d(pooled, places, 2))
    assert torch.equal(F.max_pool2d(max_unpool(pooled, places), 2), pooled)


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
def test_a_convolution_1x1_commutes_with_upsampling(upsample):
    features, conv = torch.rand(2, 4, 5, 6), nn.Conv2d(4, 3, 1)

    def twice(maps):
        return F.interpolate(maps, scale_factor=2, mode=upsample)

    torch.testing.assert_close(conv(twice(features)), twice(conv(features)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("upsample", UPSAMPLINGS)
def test_is_exported(upsample):
    net = build("unet_tiny", 3, 18, upsample=upsample).eval()
    images = torch.rand(2, 1, 18, 18)
    exported = torch.export.export(net, (images,)).module()
    torch.testing.assert_close(exported(images), net(images))


def test_folding_pixels_is_undone_at_the_end():
    """What the last convolution before the head says of a pixel stands at that pixel."""
    net = build("unet_tiny", 2, 8)
    seen = []
    net.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net.unfold.register_forward_hook(lambda *given: seen.append(given[2]))
    net.eval()(torch.rand(1, 1, 8, 8))
    before, after = seen
    for row, column in ((0, 0), (3, 2), (7, 7)):
        corner = (row % 2) * 2 + column % 2
        assert torch.equal(after[0, :, row, column], before[0, corner::4, row // 2, column // 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": [8]}, r"2 levels or more.*\[8\]"),
        ({"widths": [8, 0]}, r"at least 1 channel.*\[8, 0\]"),
        ({"upsample": "max_unpool", "padding": "valid"}, "needs padding=same"),
    ],
)
def test_impossible_values_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        build("unet_small", 3, 16, **arguments)
