"""The output of one module of a net, and the gradient of a score with respect to it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.analysis.at_rest import at_rest


def feature_gradients(
    net: nn.Module, module: str, images: Tensor, score: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """What a module gives for images (B, C, H, W), and the score's gradient there; two tensors of the same shape.

    Nothing before the module is differentiated. Modes, hooks and `.grad` are left as they were.

    Args:
        net: what is looked into.
        module: the module's name; where it is called several times, its last call counts.
        images: as the net reads them.
        score: outputs of the net -> one score an image (B,).
    """
    seen: list[Tensor] = []

    def catch(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())  # nothing before it needs a gradient
        return seen[-1].clone()  # some nets go on in place

    handle = net.get_submodule(module).register_forward_hook(catch)
    try:
        with at_rest(net), torch.enable_grad():
            (gradient,) = torch.autograd.grad(score(net(images)).float().sum(), seen[-1])
    finally:
        handle.remove()
    return seen[-1].detach(), gradient
