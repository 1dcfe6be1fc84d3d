"""Low-rank adapters on the attention weights of vision transformers (LoRA).

W + (alpha / rank) up @ down, with W frozen, `down` (rank, in) random and `up` (out, rank) zero at the start, so that
the net begins as it was. The adapter is a parametrisation of the weight itself: attention layers that hand their
weights to a function instead of calling their linear layers (torchvision's) are adapted like the others, and a
merged weight is the adapted one to the last bit. Hu et al. 2022, arxiv.org/abs/2106.09685. Differences to the
paper: a fused qkv weight has one pair for q, k and v, and dropout leaves out input features for all tokens of a
batch alike, which is what dropout on a weight can do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils import parametrize

from settings.errors import UserError

TARGETS = ("qkv", "proj")
UP, DOWN, SCALE = "0.up", "0.down", "0.scale"


class LowRank(nn.Module):
    """Adds a low-rank update to the weight (out, in) that it is given.

    Args:
        weight: the weight to be adapted; its shape and device count.
        rank: of the update.
        alpha: the update is multiplied by alpha / rank, so that another rank needs no other learning rate.
        dropout: share of the input features that the update does not see in a training step.
    """

    def __init__(self, weight: Tensor, *, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.down = nn.Parameter(weight.new_empty(rank, inputs))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        self.dropout = dropout
        self.scale: Tensor
        self.register_buffer("scale", weight.new_tensor(alpha / rank))  # so that tensors alone can be merged
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight (out, in)."""
        down: Tensor = self.down
        if self.training and self.dropout:
            down = down * dropout(down.new_ones(down.shape[1]), self.dropout)
        return _updated(weight, self.up, down, self.scale)


def _updated(weight: Tensor, up: Tensor, down: Tensor, scale: Tensor) -> Tensor:
    return weight + scale * (up @ down)


def add_adapters(
    net: nn.Module, *, rank: int, alpha: float, dropout: float = 0.0, targets: Sequence[str] = TARGETS
) -> None:
    """Put adapters on the attention weights of a net, in place; it computes the same as before.

    Args:
        net: with attention layers: torch's own, or ones with linear layers `qkv` and `proj`.
        rank: of the updates; at most the smaller side of each weight.
        alpha: strength of the updates, see `LowRank`.
        dropout: in [0, 1).
        targets: `qkv` (queries, keys and values), `proj` (the projection behind them), or both.

    Raises:
        UserError: the net has no attention layer, or the rank is larger than its weights allow.
    """
    found = [(module, name) for target in targets for module, name in _attention_weights(net)[target]]
    if not found:
        raise UserError(
            f"transfer=lora adapts attention layers, and {type(net).__name__} has none; take a vision transformer, or "
            "transfer=partial, gradual or discriminative"
        )
    smallest = min(min(getattr(module, name).shape) for module, name in found)
    if rank > smallest:
        raise UserError(f"transfer.rank={rank}: the weights to be adapted allow at most {smallest}")
    for module, name in found:
        adapter = LowRank(getattr(module, name), rank=rank, alpha=alpha, dropout=dropout)
        parametrize.register_parametrization(module, name, adapter)


def _attention_weights(net: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """Target -> (module, name of its weight), input to output."""
    found: dict[str, list[tuple[nn.Module, str]]] = {target: [] for target in TARGETS}
    for module in net.modules():
        if isinstance(module, nn.MultiheadAttention):
            found["qkv"].append((module, "in_proj_weight"))
            found["proj"].append((module.out_proj, "weight"))
        elif all(isinstance(getattr(module, target, None), nn.Linear) for target in TARGETS):
            for target in TARGETS:
                found[target].append((getattr(module, target), "weight"))
    return found


def is_adapter(name: str) -> bool:
    """Whether a parameter of this full name belongs to an adapter."""
    return ".parametrizations." in f".{name}" and name.endswith((UP, DOWN))


def merged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a net with adapters as those of the net without, which computes the same; else unchanged."""
    found = dict(tensors)
    for stem, key in list(_adapted(tensors)):
        up, down, scale = (found.pop(f"{stem}.{part}") for part in (UP, DOWN, SCALE))
        with torch.no_grad():
            found[key] = _updated(found.pop(f"{stem}.original"), up, down, scale)
    return found


def _adapted(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Names below which an adapted weight lies (`a.parametrizations.weight`), and its plain name (`a.weight`)."""
    for name in tensors:
        if is_adapter(name) and name.endswith(UP):
            stem = name.removesuffix(f".{UP}")
            yield stem, stem.replace("parametrizations.", "")
