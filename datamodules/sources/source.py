"""What every source of images offers."""

from collections.abc import Sequence
from typing import Protocol

import torch


class Source(Protocol):
    """Images with targets and keys, in memory or in files; a loader or `PerImage` makes batches of them."""

    targets: torch.Tensor
    """Labels, label sets or masks: see `datamodules/targets.py`."""

    @property
    def strata(self) -> torch.Tensor:
        """One class an image, int64 ``(N,)``: what splits, subsets and balanced draws keep in proportion."""

    @property
    def keys(self) -> Sequence[str]:
        """One unique name an image, which does not change when images are added."""

    def __len__(self) -> int: ...

    def image(self, index: int, channels: int) -> torch.Tensor:
        """Return one image, uint8 ``(C, H, W)``; files arrive with ``channels``, arrays as they are stored."""

    def subset(self, indices: torch.Tensor) -> "Source":
        """Return a source of the images at ``indices`` (int64), in that order."""

    def fingerprint(self) -> str:
        """Return a hash that changes when the images, their labels or their keys do."""
