"""What a net makes of images, stage by stage: the feature map at the end of each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.analysis.at_rest import at_rest
from models.analysis.grid import stage_grids


@torch.no_grad()
def stage_maps(net: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Name of a stage -> its last feature map (B, channels, h, w), input to output; stages without places are left out.

    Args:
        net: with stages (models/stages.py).
        images: (B, C, H, W) as the net reads them.
    """
    found = stage_grids(net, images)
    seen: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        seen[name] = found[name].to_map(output).detach().clone()  # some nets go on in place

    handles = [
        net.get_submodule(grid.module).register_forward_hook(lambda _, inputs, output, name=name: keep(name, output))
        for name, grid in found.items()
    ]
    try:
        with at_rest(net):
            net(images)
    finally:
        for handle in handles:
            handle.remove()
    return {name: seen[name] for name in found}
