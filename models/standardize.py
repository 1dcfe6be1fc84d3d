"""Standardise every pixel by statistics of the training images: feature-wise, or ZCA whitening.

The layer sits in front of a net as a part of it: its statistics are buffers of the net, so a checkpoint, an export and
every later use carry them, and cannot forget to apply them.

Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images", appendix A (ZCA).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from settings.errors import UserError

KINDS = ("none", "featurewise", "zca")
MOST_FEATURES = 4096  # of ZCA: a matrix of this many squared, 64 MB, and a minute of eigenvectors
EPSILON = 1e-2
"""Added to variances, as a share of the mean variance: pixels that never change are not blown up."""


class Standardize(nn.Module):
    """Map images (B, C, H, W) to images of mean 0 and, pixel by pixel or altogether, variance 1.

    Args:
        kind: "featurewise" divides each pixel of each channel by its own standard deviation; "zca" also takes away
            what the pixels have in common, and leaves the image as close as it can be to itself.
        channels: of the images.
        size: their side in pixels.

    Raises:
        UserError: the images have too many pixels for ZCA.
    """

    mean: Tensor
    transform: Tensor

    def __init__(self, *, kind: str, channels: int, size: int) -> None:
        super().__init__()
        features = channels * size * size
        if kind == "zca" and features > MOST_FEATURES:
            raise UserError(
                f"data.standardize=zca needs a {features} x {features} matrix for {channels} x {size} x {size} images; "
                f"it goes up to {MOST_FEATURES} features: take a smaller data.image_size, or featurewise"
            )
        self.kind = kind
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("transform", torch.eye(features) if kind == "zca" else torch.ones(features))

    def forward(self, images: Tensor) -> Tensor:
        """Standardise float images, in single precision whatever the rest computes in."""
        with torch.autocast(images.device.type, enabled=False):
            centred = images.float().flatten(1) - self.mean  # (B, C H W)
            done = centred @ self.transform if self.kind == "zca" else centred * self.transform
        return done.view(images.shape)

    def fit(self, batches: Iterable[Tensor]) -> None:
        """Take mean and covariance from training images, float (B, C, H, W) a batch, in double precision."""
        features, count = len(self.mean), 0
        total = torch.zeros(features, dtype=torch.float64)
        squares = torch.zeros((features, features) if self.kind == "zca" else (features,), dtype=torch.float64)
        for batch in batches:
            flat = batch.detach().double().cpu().flatten(1)
            count += len(flat)
            total += flat.sum(dim=0)
            squares += flat.T @ flat if self.kind == "zca" else flat.square().sum(dim=0)
        mean = total / count
        if self.kind == "zca":
            values, vectors = torch.linalg.eigh(squares / count - torch.outer(mean, mean))
            values = values.clamp_min(0)
            transform = (vectors / (values + EPSILON * values.mean()).sqrt()) @ vectors.T
        else:
            variance = (squares / count - mean.square()).clamp_min(0)
            transform = (variance + EPSILON * variance.mean()).rsqrt()
        self.mean.copy_(mean)
        self.transform.copy_(transform)


def put_in_front(net: nn.Module, *, kind: str, channels: int, size: int) -> Standardize | None:
    """Make a net standardise its own input; return the layer, to be fitted or loaded, or None for "none"."""
    if kind == "none":
        return None
    layer = Standardize(kind=kind, channels=channels, size=size)
    net.add_module("standardize", layer)
    net.register_forward_pre_hook(_standardized)
    return layer


def _standardized(net: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (net.standardize(inputs[0]), *inputs[1:])
