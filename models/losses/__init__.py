"""Losses, one a file: `focal.py` holds the function `focal`. A loss is found by its file's name.

A loss is a pure function of logits (B, K, ...) and targets that returns a scalar, the mean. What a configuration may
say stands behind the `*` of its signature, with types and ranges; the task fills in `class_weights` and
`ignore_index` where the signature has them. The literal `TARGETS` says what it can learn from: `labels`,
`multilabels`, `masks`. Both are read from source. A loss without `ignore_index` is not handed what is to be ignored.
Importing this package imports no torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT = "cross_entropy"


def loss_files() -> dict[str, str]:
    """Loss name -> "models.losses.file.function", by listing this folder."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    return {name: f"models.losses.{name}.{name}" for name in found}


def loss_function(name: str) -> Callable[..., Tensor]:
    """Import and return a loss.

    Raises:
        UserError: there is no such loss.
    """
    if name not in loss_files():
        raise UserError(unknown("loss", name, loss_files()))
    module, _, function = loss_files()[name].rpartition(".")
    found: Callable[..., Tensor] = getattr(import_module(module), function)
    return found


def build_loss(settings: Mapping[str, Any], *, ignore_index: int) -> Callable[..., Tensor]:
    """The loss that a configuration describes, as a function of logits, targets and `class_weights`.

    Args:
        settings: `name` and arguments of a loss; cross entropy without a name. `terms` are what is added to it: name
            of a loss -> its `weight` (1) and arguments.
        ignore_index: target that counts nowhere.

    Raises:
        UserError: there is no such loss.
    """
    given = dict(settings)
    terms = given.pop("terms", None) or {}
    first = _bound(given.pop("name", DEFAULT), given, ignore_index)
    if not terms:
        return first
    weighted = [(1.0, first)]
    for name, arguments in terms.items():
        rest = dict(arguments)
        weighted.append((rest.pop("weight", 1.0), _bound(name, rest, ignore_index)))

    def total(logits: Tensor, targets: Tensor, *, class_weights: Tensor | None = None) -> Tensor:
        losses = [weight * loss(logits, targets, class_weights=class_weights) for weight, loss in weighted]
        return sum(losses[1:], losses[0])

    return total


def _bound(name: str, arguments: Mapping[str, Any], ignore_index: int) -> Callable[..., Tensor]:
    function = loss_function(name)
    takes = inspect.signature(function).parameters
    ignores, weighs = "ignore_index" in takes, "class_weights" in takes
    bound = partial(function, **arguments, **({"ignore_index": ignore_index} if ignores else {}))
    if ignores and weighs:
        return bound

    def reduced(logits: Tensor, targets: Tensor, *, class_weights: Tensor | None = None) -> Tensor:
        if not ignores:
            logits, targets = _counted(logits, targets, ignore_index)
            if not len(logits):
                return logits.sum()  # 0, and the mean of nothing would be NaN
        return bound(logits, targets, **({"class_weights": class_weights} if weighs else {}))

    return reduced


def _counted(logits: Tensor, targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Logits and targets without what is to be ignored; of masks the pixels, (N, K) and (N,)."""
    kept = targets != ignore_index
    if targets.ndim == logits.ndim:  # for each class: an image is ignored where all of them are
        kept = kept.flatten(1).any(dim=1)
        return logits[kept], targets[kept]
    return logits.movedim(1, -1)[kept], targets[kept]
