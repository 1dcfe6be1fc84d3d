"""Where a net's head begins, and what a frozen body hands to it: the same in every epoch, so once is enough."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.stages import stages


def head_module(net: nn.Module) -> str | None:
    """Name of the outermost module that holds the head's parameters and no others; None where there is no such.

    A head in several places (auxiliary heads), or a net that is all head, has none.
    """
    head = {id(parameter) for parameter in stages(net)[-1].parameters.values()}
    for name, module in net.named_modules():
        own = {id(parameter) for parameter in module.parameters()}
        if own == head:
            return name or None
    return None


def head_input(net: nn.Module, head: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the module `head` is given, and what the net returns, for images (B, C, H, W); without gradients."""
    seen: list[Tensor] = []  # copies: torchvision's heads begin with dropout in place
    handle = net.get_submodule(head).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    try:
        with torch.no_grad():
            logits = net(images)
    finally:
        handle.remove()
    return seen[-1], logits


def is_all_before_head(net: nn.Module, head: str, images: Tensor) -> bool:
    """Whether the net is its head on `head_input` and nothing else, in training as in evaluation.

    False where something random stands before the head (dropout), or anything comes after it. The net's mode is
    as it was afterwards, and so are the generators.
    """
    modes = {module: module.training for module in net.modules()}
    try:
        with torch.random.fork_rng(), torch.no_grad():
            states = []
            for seed in (0, 1):
                torch.manual_seed(seed)
                features, logits = head_input(net, head, images)
                torch.manual_seed(seed)
                again = net.get_submodule(head)(features.clone())
                states.append((features, torch.equal(again, logits)))
            net.eval()
            at_rest, _ = head_input(net, head, images)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return all(equal and torch.equal(features, at_rest) for features, equal in states)
