"""What a net takes from training images before its first step: statistics of pixels, filters of patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from models.standardize import Standardize


@runtime_checkable
class FitsImages(Protocol):
    """A net of our own with a layer that is fitted to training images."""

    def fit_images(self, batches: Iterable[Tensor]) -> None:
        """Take in training images, float (B, C, H, W) normalised, a batch at a time."""


def fit_to_images(net: nn.Module, images: Callable[[], Iterable[Tensor]]) -> None:
    """Fit what a net fits before its first step: `data.standardize` in front of it, then its own first layer.

    A net that was given weights keeps the first layer of these.

    Args:
        net: as `models.build.build_net` makes it.
        images: gives the training images anew each time, float (B, C, H, W) normalised; only called where needed.
    """
    standardize = getattr(net, "standardize", None)
    if isinstance(standardize, Standardize):
        standardize.fit(images())
    if isinstance(net, FitsImages) and net.weights_report is None:  # type: ignore[attr-defined]
        net.fit_images(images() if standardize is None else _standardized(standardize, images()))


@torch.no_grad()
def _standardized(layer: Standardize, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    for batch in batches:
        yield layer(batch)
