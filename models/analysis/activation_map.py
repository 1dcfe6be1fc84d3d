"""Where an image speaks for its class, by the net's last feature map.

Each channel of the map counts by the mean gradient of the class's logit, as in Grad-CAM (Selvaraju et al. 2017,
arxiv.org/abs/1610.02391), of which negative values are kept here. Where the net ends in an average and one linear layer
that is its weight: the class activation map (Zhou et al. 2016, arxiv.org/abs/1512.04150) over the number of places.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from settings.errors import UserError


def spatial_module(net: nn.Module, images: Tensor, *, name: str) -> str:
    """Name of the module whose output is the last feature map: (B, channels, h, w) with more than one place.

    Args:
        net: in evaluation mode while it is looked at.
        images: square ones as the net reads them, (B, C, S, S).
        name: what to call the net in a message.

    Raises:
        UserError: there is no such, or the net goes on with tokens behind it (vision transformers).
    """
    last = ""

    def look(path: str, inputs: tuple[Tensor, ...], output: object) -> None:
        nonlocal last
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
            last = path
        elif isinstance(output, Tensor) and output.ndim >= 3 and output.shape[1] > 1 and output.shape[2] > 1:
            last = ""  # tokens, or channels behind the places

    handles = [
        module.register_forward_hook(lambda _, inputs, output, path=path: look(path, inputs, output))
        for path, module in net.named_modules()
        if path
    ]
    try:
        with _at_rest(net), torch.no_grad():
            net(images)
    finally:
        for handle in handles:
            handle.remove()
    if not last:
        raise UserError(
            f"augment.adversarial_erasing: {name} has no feature map with places before its head; take a convolutional "
            "net, such as model=resnet20"
        )
    return last


def class_activation_maps(net: nn.Module, module: str, images: Tensor, targets: Tensor) -> Tensor:
    """How much each place speaks for the class of its image, float32 (B, h, w); negative where it speaks against.

    Asking changes nothing: the net is in evaluation mode meanwhile and back in its own afterwards, gradients of its
    weights stay as they are.

    Args:
        net: maps images to logits (B, K).
        module: name of the one whose output (B, channels, h, w) is looked at.
        images: (B, C, H, W) as the net reads them.
        targets: classes int64 (B,), or their shares (B, K).
    """
    seen: list[Tensor] = []

    def catch(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())  # nothing before it needs a gradient
        return seen[-1].clone()  # some nets go on in place

    handle = net.get_submodule(module).register_forward_hook(catch)
    try:
        with _at_rest(net), torch.enable_grad():
            logits = net(images)
            score = logits.gather(1, targets[:, None]) if targets.ndim == 1 else logits * targets
            (gradient,) = torch.autograd.grad(score.float().sum(), seen[-1])
    finally:
        handle.remove()
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    return (weights * seen[-1].detach().float()).sum(dim=1)


@contextmanager
def _at_rest(net: nn.Module) -> Iterator[None]:
    """In evaluation mode, each module back in its own afterwards."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
