"""Looking at a net without touching it: its modes and torch's generators are afterwards as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def at_rest(net: nn.Module) -> Iterator[None]:
    """In evaluation mode, each module back in its own afterwards; what is drawn meanwhile was never drawn."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
