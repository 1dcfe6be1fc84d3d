"""Drawn filters: equal to OpenCV's and SciPy's, fixed unless they learn, strengths averaged in cells."""

import math

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import nn

from models.build import build_net
from models.nets.filters import ASPECT, EPSILON, SPREAD, WAVELENGTH, Filters, gabor, kernels


def test_sobel_equals_opencv_and_scipy() -> None:
    torch.manual_seed(0)
    image = torch.rand(12, 9)
    net = Filters(num_classes=10, in_channels=1, bank="sobel")
    found = net.filters(image[None, None])[0].numpy()
    for number, (dx, dy) in enumerate(((1, 0), (0, 1))):
        assert np.allclose(found[number], cv2.Sobel(image.numpy(), cv2.CV_32F, dx, dy), atol=1e-5)
        assert np.allclose(found[number], scipy.ndimage.sobel(image.numpy(), axis=dy == 0, mode="mirror"), atol=1e-5)


@pytest.mark.parametrize("size", [5, 11])
def test_gabor_equals_opencv(size: int) -> None:
    for direction in (0.0, 0.4, math.pi / 2, 2.5):
        for phase in (0.0, math.pi / 2):
            theirs = cv2.getGaborKernel((size, size), SPREAD, direction, WAVELENGTH, ASPECT, phase, cv2.CV_64F)
            assert np.allclose(gabor(size=size, direction=direction, phase=phase).numpy(), theirs, atol=1e-12)


def test_banks() -> None:
    assert {bank: tuple(kernels(bank).shape) for bank in ("sobel", "gabor", "random")} == {
        "sobel": (2, 3, 3),
        "gabor": (12, 11, 11),
        "random": (12, 11, 11),
    }


@pytest.mark.parametrize(
    ("arguments", "count"),
    [({"bank": "sobel"}, 990), ({}, 5_890), ({"bank": "random"}, 5_890), ({"learn": True}, 5_890 + 12 * 121)],
)
def test_filters_learn_only_on_request(arguments: dict, count: int) -> None:
    net = build_net(name="filters", num_classes=10, in_channels=1, image_size=28, arguments=arguments)
    assert sum(parameter.numel() for parameter in net.parameters()) == count
    net(torch.rand(2, 1, 28, 28)).sum().backward()
    assert (net.filters.weight.grad is not None) is arguments.get("learn", False)  # type: ignore[union-attr]
    assert "filters.weight" in net.state_dict()


def test_both_forms_compute_the_same_and_channels_count_by_their_mean() -> None:
    torch.manual_seed(0)
    fixed = Filters(num_classes=10, in_channels=3)
    learnt = Filters(num_classes=10, in_channels=3, learn=True)
    grey = Filters(num_classes=10, in_channels=1)
    for net in (learnt, grey):
        net.head.load_state_dict(fixed.head.state_dict())
    images = torch.rand(2, 3, 28, 28)
    torch.testing.assert_close(learnt(images), fixed(images))
    torch.testing.assert_close(grey(images.mean(dim=1, keepdim=True)), fixed(images), atol=1e-5, rtol=1e-5)


def test_strengths_are_averaged_in_49_cells() -> None:
    torch.manual_seed(0)
    net = Filters(num_classes=10, in_channels=1, bank="sobel")
    seen: list[torch.Tensor] = []
    net.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.rand(2, 1, 28, 28)
    net(images)
    strength = (net.filters(images).square() + EPSILON).sqrt()
    expected = strength.unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(4, 5)).flatten(1)
    assert expected.shape == (2, 98)
    torch.testing.assert_close(seen[0], expected)


def test_an_unknown_bank_is_refused() -> None:
    with pytest.raises(ValueError, match="sobel, gabor, random; got 'haar'"):
        Filters(num_classes=10, in_channels=1, bank="haar")  # type: ignore[arg-type]


def test_the_first_layer_is_the_bank_for_both_forms() -> None:
    for learn in (False, True):
        net = Filters(num_classes=10, in_channels=1, learn=learn)
        assert next(module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)) is net.filters
