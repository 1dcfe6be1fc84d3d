"""Penalties on the weights of a net, and which of its parameters are weights."""

import re

import torch
from torch import Tensor, nn

NORM = re.compile(r"(norm|(^|_)(bn|ln))\d*$", re.IGNORECASE)


def is_weight(name: str, parameter: Tensor) -> bool:
    """Whether weight decay and penalties may shrink a parameter: no biases, and no scales of norms.

    Those are vectors, with two exceptions that their names tell: tables of relative position biases, and
    layer norms over several dimensions (in a module called `norm`, `norm1`, `layer_norm`, `bn1`, ...).
    """
    *modules, last = name.split(".")
    return parameter.ndim > 1 and "bias" not in last and not any(NORM.search(module) for module in modules)


def l1_penalty(net: nn.Module) -> Tensor:
    """Sum of the absolute trainable weights, norms and biases left out; a scalar."""
    return sum((weight.abs().sum() for weight in _weights(net)), torch.zeros(()))


def l2_penalty(net: nn.Module) -> Tensor:
    """Half the sum of the squared trainable weights, norms and biases left out; a scalar.

    Half, so that its gradient is the weight itself: with plain SGD it then equals weight decay. With
    `l1_penalty` it makes the elastic net (Zou and Hastie 2005).
    """
    return sum((weight.square().sum() for weight in _weights(net)), torch.zeros(())) / 2


def _weights(net: nn.Module) -> list[nn.Parameter]:
    named = net.named_parameters()
    return [parameter for name, parameter in named if parameter.requires_grad and is_weight(name, parameter)]
