"""What vision transformers attend to: their attention matrices, and the rollout of all layers.

Abnar and Zuidema 2020, arxiv.org/abs/2005.00928: attention from the last layer to the input is the product of the
layers' matrices, each the mean over its heads and the identity for the way around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.analysis.at_rest import at_rest
from settings.errors import UserError


@torch.no_grad()
def attentions(net: nn.Module, images: Tensor, *, name: str) -> list[Tensor]:
    """The attention matrices (B, heads, N, N) of all layers for images (B, C, H, W), input to output; rows sum to 1.

    Fused attention of timm never holds its matrix, so it is switched off meanwhile; torch's module is asked for it.

    Raises:
        UserError: the net has no attention over the whole image.
    """
    found: list[Tensor] = []
    handles: list[Any] = []
    fused = [one for one in net.modules() if hasattr(one, "fused_attn") and hasattr(one, "attn_drop")]
    before = [one.fused_attn for one in fused]

    def ask(_: nn.Module, inputs: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return inputs, {**named, "need_weights": True, "average_attn_weights": False}

    try:
        for one in net.modules():
            if isinstance(one, nn.MultiheadAttention):
                handles.append(one.register_forward_pre_hook(ask, with_kwargs=True))
                handles.append(one.register_forward_hook(lambda _, inputs, output: found.append(output[1])))
        for one in fused:
            one.fused_attn = False  # type: ignore[assignment]
            drop: nn.Module = one.attn_drop  # type: ignore[assignment]
            handles.append(drop.register_forward_hook(lambda _, inputs, output: found.append(output.clone())))
        with at_rest(net):
            net(images)
    finally:
        for handle in handles:
            handle.remove()
        for one, value in zip(fused, before, strict=True):
            one.fused_attn = value
    whole = found and all(one.ndim == 4 and len(one) == len(images) and one.shape == found[0].shape for one in found)
    if not whole or found[0].shape[2] != found[0].shape[3]:
        raise UserError(f"rollout: {name} has no attention over the whole image; it is for vision transformers")
    return [one.float() for one in found]


def rollout(matrices: Sequence[Tensor]) -> Tensor:
    """How much each token of the last layer comes from each of the first, (B, N, N); rows sum to 1.

    Args:
        matrices: the layers' (B, heads, N, N), input to output.
    """
    own = torch.eye(matrices[0].shape[-1], device=matrices[0].device)
    product = own
    for matrix in matrices:
        product = (matrix.mean(dim=1) + own) / 2 @ product
    return product


def token_map(rows: Tensor, *, prefix: int, height: int, width: int) -> Tensor:
    """What the class token (else the mean token) takes from each place, (B, h, w), of rows (B, N, N)."""
    own = rows[:, 0] if prefix else rows.mean(dim=1)
    return own[:, prefix:].unflatten(1, (height, width))
