"""How weights start, for any net: one rule for all its convolutions and linear layers.

What is neither (norms, tokens, positions, capsules, fixed filters) keeps the start that its net gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor, nn

from settings.errors import UserError, unknown

DEFAULT = "default"
RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "kaiming": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "xavier": nn.init.xavier_normal_,
    "orthogonal": nn.init.orthogonal_,
}
"""Rule -> what draws a weight (out, in, ...); fans are those of `torch.nn.init`."""


def initialize(net: nn.Module, rule: str) -> None:
    """Draw the weights of a net anew, in place, and set the biases beside them to zero.

    `kaiming` has variance 2 / inputs, which keeps the size of activations through ReLUs (He et al. 2015,
    arxiv.org/abs/1502.01852); `xavier` has 2 / (inputs + outputs) (Glorot and Bengio 2010); `orthogonal` has rows, or
    columns where these are fewer, of length 1 that stand at right angles (Saxe et al. 2014, arxiv.org/abs/1312.6120).

    Args:
        net: just built; its own start is overwritten.
        rule: a key of `RULES`, or `default`, which leaves the net as it is.

    Raises:
        UserError: there is no such rule, or nothing in the net that it applies to.
    """
    if rule == DEFAULT:
        return
    if rule not in RULES:
        raise UserError(unknown("model.initialization", rule, (DEFAULT, *RULES)))
    found = list(_weights_and_biases(net))
    if not found:
        raise UserError(f"model.initialization={rule}: {type(net).__name__} has no convolution and no linear layer")
    for weight, bias in found:
        RULES[rule](weight)
        if bias is not None:
            nn.init.zeros_(bias)


def _weights_and_biases(net: nn.Module) -> Iterator[tuple[nn.Parameter, nn.Parameter | None]]:
    for module in net.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear) and isinstance(weight, nn.Parameter):
            yield weight, module.bias  # type: ignore[misc]
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            for part in module.in_proj_weight.chunk(3):  # queries, keys and values are three layers in one
                yield part, None  # type: ignore[misc]
            if module.in_proj_bias is not None:
                nn.init.zeros_(module.in_proj_bias)
