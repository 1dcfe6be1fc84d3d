"""Training losses and penalties, as pure functions."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from settings.errors import UserError

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


def classification_loss(
    logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Mean cross entropy of a batch, computed in at least float32.

    Args:
        logits: (B, K).
        targets: class indices int64 (B,), where -1 marks padding that is left out of the mean; or shares
            of the classes (B, K) that sum to 1, after mixing.
        label_smoothing: share of each target spread evenly over the K classes, in [0, 1); Szegedy et al.
            2016, arxiv.org/abs/1512.00567.
        class_weights: (K,), the weight of an image of each class; the mean is over weights, as torch's own is
            for class indices, and for shares of the classes alike.

    Returns:
        A scalar; 0 where every image is padding.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weight = None if class_weights is None else class_weights.to(logits.dtype)
    if targets.ndim == 2:
        targets = targets.to(logits.dtype)
        if weight is None:
            return cross_entropy(logits, targets, label_smoothing=label_smoothing)
        total = cross_entropy(logits, targets, weight, reduction="sum", label_smoothing=label_smoothing)
        return _divided(total, (targets @ weight).sum())
    total = cross_entropy(
        logits, targets, weight, ignore_index=PADDING, reduction="sum", label_smoothing=label_smoothing
    )
    counted = targets != PADDING
    # Not torch's own mean, which is NaN for a batch of padding only.
    if weight is None:
        return total / counted.sum().clamp_min(1)
    return _divided(total, (weight[targets.clamp_min(0)] * counted).sum())


def _divided(total: Tensor, weight: Tensor) -> Tensor:
    return total / torch.where(weight > 0, weight, 1)


def choose_class_weights(choice: str | Sequence[float], counts: Sequence[int]) -> list[float] | None:
    """The weight of each class that `loss.class_weights` asks for; None where all are equal.

    Args:
        choice: "none"; "balanced": n / (K n_k), as scikit-learn has it, which is 1 on average over the images;
            or one weight a class.
        counts: training images n_k of each of the K classes. A class without any gets 0.

    Raises:
        UserError: not one weight a class.
    """
    if choice == "none":
        return None
    if choice == "balanced":
        return [sum(counts) / (len(counts) * count) if count else 0.0 for count in counts]
    assert not isinstance(choice, str), choice
    if len(choice) != len(counts):
        raise UserError(f"loss.class_weights has {len(choice)} weights, and the data has {len(counts)} classes")
    return [float(weight) for weight in choice]


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
