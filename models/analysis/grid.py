"""The last place in a net where a feature still belongs to a place in the image, found by a trial pass.

Convolutional nets have maps (B, C, h, w), Swin transformers maps with channels last (B, h, w, C), vision transformers
tokens (B, prefix + h w, C). A module counts where it is a whole stage, or stands between stages; within a stage there
is more that looks like a map (queries, keys). A grid counts if the outputs depend on each of its places: behind the
last attention of a vision transformer with a class token they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.analysis.at_rest import at_rest, pass_through
from models.analysis.feature_gradients import feature_gradients
from models.stages import stages
from settings.errors import UserError, nearest


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A module whose output has places.

    Attributes:
        module: its name.
        layout: `map` (B, C, h, w), `channels_last` (B, h, w, C), or `tokens` (B, prefix + h w, C).
        height: places from top to bottom.
        width: places from left to right.
        prefix: tokens before those of the places (class token, registers).
    """

    module: str
    layout: Literal["map", "channels_last", "tokens"]
    height: int
    width: int
    prefix: int = 0

    def to_map(self, features: Tensor) -> Tensor:
        """An output of the module as (B, C, h, w)."""
        if self.layout == "map":
            return features
        if self.layout == "tokens":
            features = features[:, self.prefix :].unflatten(1, (self.height, self.width))
        return features.movedim(-1, 1)


def grids(net: nn.Module, images: Tensor) -> list[Grid]:
    """All grids with more than one place, in the order in which the net comes by them; of each module the last.

    Args:
        net: put into evaluation mode for it, and back.
        images: as the net reads them, (B, C, H, W).
    """
    found: dict[str, Grid] = {}
    patches = (0, 0)
    shape = (images.shape[2], images.shape[3])
    inside = _inside_stages(net)

    def look(path: str, module: nn.Module, output: Any) -> None:
        nonlocal patches
        found.pop(path, None)  # a module that is called again has its newest place in the order
        if not isinstance(output, Tensor) or isinstance(module, nn.AdaptiveAvgPool2d):
            return
        grid = _grid(path, output, shape, patches)
        if grid is not None:
            found[path] = grid
        if grid is not None and (path not in inside or isinstance(module, nn.Conv2d)):  # not queries, keys, attention
            patches = (grid.height, grid.width)

    pass_through(net, images, look)
    return list(found.values())


def stage_grids(net: nn.Module, images: Tensor) -> dict[str, Grid]:
    """Name of a stage -> the grid at its end, input to output; stages without one are left out."""
    owners = _owners(net)
    found: dict[str, Grid] = {}
    for grid in grids(net, images):
        stage = owners.get(grid.module)
        if stage is not None:
            found.pop(stage, None)
            found[stage] = grid
    return found


def last_grid(net: nn.Module, images: Tensor, *, name: str, layer: str | None = None) -> Grid:
    """The grid that a class is traced back to: the last one that the outputs depend on in each place.

    Where the outputs are as many as pixels (segmentation) it is the coarsest one: there the net has seen most.

    Args:
        net: as it is trained, with stages.
        images: two or more as the net reads them, (B, C, H, W).
        name: what to call the net in a message.
        layer: name of a module to take instead.

    Raises:
        UserError: there is none, or `layer` is no module with places.
    """
    every = grids(net, images)
    if layer is not None:
        return _named(layer, every, net, name)
    inside = _inside_stages(net)
    outer = [grid for grid in every if grid.module not in inside]
    with at_rest(net), torch.no_grad():
        dense = net(images).ndim == 4
    if dense:
        # The last of the coarsest, by places.
        outer = sorted(outer, key=lambda one: -one.height * one.width)
    for grid in reversed(outer):
        _, gradient = feature_gradients(net, grid.module, images, _strongest)
        if grid.to_map(gradient).abs().sum(dim=(0, 1)).ne(0).any(dim=0).all():
            return grid
    raise UserError(f"{name} has no feature map with places before its head")


def _strongest(outputs: Tensor) -> Tensor:
    return outputs.float().flatten(2).mean(dim=2).amax(dim=1) if outputs.ndim == 4 else outputs.float().amax(dim=1)


def _grid(path: str, output: Tensor, shape: tuple[int, int], patches: tuple[int, int]) -> Grid | None:
    """The grid that an output is, or None; `patches` are the places of the newest grid before it."""
    if output.ndim == 4:
        layouts: Mapping[Literal["map", "channels_last"], Any] = {
            "map": output.shape[2:],
            "channels_last": output.shape[1:3],
        }
        for layout, (height, width) in layouts.items():
            if height * width > 1 and height * shape[1] == width * shape[0]:
                return Grid(module=path, layout=layout, height=height, width=width)
    places = patches[0] * patches[1]
    if output.ndim == 3 and places > 1 and 0 <= output.shape[1] - places <= 16:
        prefix = output.shape[1] - places
        return Grid(module=path, layout="tokens", height=patches[0], width=patches[1], prefix=prefix)
    return None


def _owners(net: nn.Module) -> dict[str, str]:
    """Module -> stage, for the outermost modules whose parameters are all of one stage."""
    of = {id(value): stage.name for stage in stages(net) for value in stage.parameters.values()}
    found: dict[str, str] = {}
    for path, module in net.named_modules():
        owners = {of.get(id(value)) for value in module.parameters()}
        if path and len(owners) == 1 and None not in owners and not _below(path, found):
            found[path] = str(owners.pop())
    return found


def _inside_stages(net: nn.Module) -> set[str]:
    owners = _owners(net)
    return {path for path, _ in net.named_modules() if _below(path, owners)}


def _below(path: str, above: Mapping[str, Any]) -> bool:
    parts = path.split(".")
    return any(".".join(parts[:count]) in above for count in range(1, len(parts)))


def _named(layer: str, every: list[Grid], net: nn.Module, name: str) -> Grid:
    known = {grid.module: grid for grid in every}
    if layer in known:
        return known[layer]
    modules: Callable[[str], bool] = dict(net.named_modules()).__contains__
    close = nearest(layer, known) or list(known)[-3:]
    said = "has no places in the image" if modules(layer) else f"is no module of {name}"
    raise UserError(f"layer={layer}: {said}" + (f"; nearest: {', '.join(close)}" if close else ""))
