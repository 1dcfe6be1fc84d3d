"""Looking at a net without touching it: its modes and torch's generators are afterwards as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


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


def pass_through(net: nn.Module, images: Tensor, look: Callable[[str, nn.Module, Any], None]) -> None:
    """Put images (B, C, H, W) through a net at rest, without gradients: `look(name, module, output)` sees all it gives.

    Modules come in the order in which they end, the net itself not among them.
    """
    handles = [
        module.register_forward_hook(lambda one, _, output, path=path: look(path, one, output))
        for path, module in net.named_modules()
        if path
    ]
    try:
        with at_rest(net), torch.no_grad():
            net(images)
    finally:
        for handle in handles:
            handle.remove()
