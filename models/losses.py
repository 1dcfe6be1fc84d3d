"""Training losses and penalties, as pure functions."""

import re

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

PADDING = -1
"""Target of an image that only fills up a batch: it counts in no loss."""

NORM = re.compile(r"(norm|(^|_)(bn|ln))\d*$", re.IGNORECASE)


def is_weight(name: str, parameter: Tensor) -> bool:
    """Whether weight decay and penalties may shrink a parameter: no biases, and no scales of norms.

    Those are vectors, with two exceptions that their names tell: tables of relative position biases, and
    layer norms over several dimensions (in a module called `norm`, `norm1`, `layer_norm`, `bn1`, ...).
    """
    *modules, last = name.split(".")
    return parameter.ndim > 1 and "bias" not in last and not any(NORM.search(module) for module in modules)


def classification_loss(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy of a batch, computed in at least float32.

    Args:
        logits: (B, K).
        targets: class indices int64 (B,), where -1 marks padding that is left out of the mean; or shares
            of the classes (B, K) that sum to 1, after mixing.
        label_smoothing: share of each target spread evenly over the K classes, in [0, 1); Szegedy et al.
            2016, arxiv.org/abs/1512.00567.

    Returns:
        A scalar; 0 where every image is padding.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if targets.ndim == 2:
        return cross_entropy(logits, targets.to(logits.dtype), label_smoothing=label_smoothing)
    total = cross_entropy(logits, targets, ignore_index=PADDING, reduction="sum", label_smoothing=label_smoothing)
    # Not torch's own mean, which is NaN for a batch of padding only.
    return total / (targets != PADDING).sum().clamp_min(1)


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
