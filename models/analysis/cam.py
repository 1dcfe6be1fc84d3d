"""Class activation maps: the last feature map, each channel by the head's weight for the class.

For nets that end in an average over the places and one linear layer (Zhou et al. 2016, arxiv.org/abs/1512.04150): there
the mean of the map plus the bias is the class's logit, and this is how such a net is told from others.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.analysis.at_rest import at_rest
from models.analysis.grid import Grid
from settings.errors import UserError


@torch.no_grad()
def cam(net: nn.Module, grid: Grid, images: Tensor, wanted: Tensor, *, name: str) -> Tensor:
    """How much each place adds to the logit of its class, float32 (B, h, w); negative where it takes away.

    Args:
        net: maps images to logits (B, K).
        grid: its last one.
        images: (B, C, H, W) as the net reads them.
        wanted: classes int64 (B,).
        name: what to call the net in a message.

    Raises:
        UserError: the net does not end in an average and one linear layer.
    """
    seen: list[Tensor] = []
    handle = net.get_submodule(grid.module).register_forward_hook(
        lambda _, inputs, output: seen.append(output.clone())  # some nets go on in place
    )
    try:
        with at_rest(net):
            logits = net(images)
    finally:
        handle.remove()
    maps = grid.to_map(seen[-1]).float()
    linear = [one for one in net.modules() if isinstance(one, nn.Linear) and one.in_features == maps.shape[1]]
    heads = [one for one in linear if logits.ndim == 2 and one.out_features == logits.shape[1]]
    for features in (maps, maps.relu()) if heads else ():  # DenseNet's last ReLU is no module
        weight, bias = heads[-1].weight.float(), heads[-1].bias
        given = features.mean(dim=(2, 3)) @ weight.T + (0 if bias is None else bias.float())
        if torch.allclose(given, logits.float(), rtol=1e-3, atol=1e-3 * float(logits.abs().max())):
            return (weight[wanted][:, :, None, None] * features).sum(dim=1)
    raise UserError(f"cam: {name} does not end in an average and one linear layer; grad_cam takes any net")
