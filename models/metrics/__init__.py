"""Metrics beside a task's own: `brier.py` holds the class `Brier`. A metric is found by its file's name.

A metric is a `torchmetrics.Metric` with a keyword-only constructor and the literal `higher_is_better`, True or False,
which the configuration reads from source. `update(probs, targets)` gets probabilities (B, K, ...) and int64 targets:
class indices (B, ...), or 0 and 1 for each class (B, K). `num_classes` and `ignore_index` are filled in where the
constructor has them. What is not here is taken from torchmetrics. Importing this package imports no torch.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import Metric


def metric_files() -> dict[str, str]:
    """Metric name -> "models.metrics.file.Class", by listing this folder."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    return {name: f"models.metrics.{name}.{name.title().replace('_', '')}" for name in found}


def metric_class(name: str, kind: str) -> type[Metric]:
    """Import and return a metric: ours, then torchmetrics' of the kind, compared without `_` and case.

    Args:
        name: such as `brier` or `cohen_kappa`.
        kind: `Multiclass`, `Multilabel` or `Binary`; empty for none of torchmetrics.

    Raises:
        UserError: there is no such metric.
    """
    files = metric_files()
    found: type[Metric]
    if name in files:
        module, _, cls = files[name].rpartition(".")
        found = getattr(import_module(module), cls)
        return found
    library = import_module("torchmetrics.classification")
    classes = {other.removeprefix(kind).lower(): other for other in library.__all__ if kind and other.startswith(kind)}
    plain = name.replace("_", "").lower()
    if plain not in classes:
        raise UserError(unknown("metric", name, [*files, *classes]))
    found = getattr(library, classes[plain])
    return found


def build_metrics(
    chosen: Mapping[str, Mapping[str, Any]] | Iterable[str], kind: str, *, num_classes: int, ignore_index: int
) -> dict[str, Metric]:
    """Metrics by name, each tried on two images.

    Args:
        chosen: name -> arguments of the class, `{"cohen_kappa": {}, "f1_score": {"average": "micro"}}`, or names.
            An average that is not given is the class's own (`macro` in most).
        kind: `Multiclass`, `Multilabel` or `Binary`; empty where only our own can be used.
        num_classes: classes, or labels.
        ignore_index: target that counts nowhere.

    Raises:
        UserError: there is no such metric, it does not take the arguments, or its value is not one number.
    """
    given = chosen if isinstance(chosen, Mapping) else {name: {} for name in chosen}
    return {
        name: _built(name, kind, dict(arguments or {}), num_classes=num_classes, ignore_index=ignore_index)
        for name, arguments in given.items()
    }


def _built(name: str, kind: str, arguments: dict[str, Any], *, num_classes: int, ignore_index: int) -> Metric:
    import torch

    cls = metric_class(name, kind)
    takes = inspect.signature(cls).parameters
    filled = {"num_classes": num_classes, "num_labels": num_classes, "ignore_index": ignore_index}
    arguments = {key: value for key, value in filled.items() if key in takes} | arguments
    targets = torch.tensor([0, num_classes - 1])
    probs = torch.nn.functional.one_hot(targets, num_classes) * 0.5 + 0.5 / num_classes
    if kind == "Multilabel":
        targets = (probs > 0.5).long()
    elif kind == "Binary":
        targets, probs = torch.tensor([0, 1]), torch.tensor([0.25, 0.75])
    try:
        cls(**arguments)  # torchmetrics' own check of the arguments; that of each batch would cost time
        metric = cls(**arguments, **({"validate_args": False} if "validate_args" in takes else {}))
        metric.sync_on_compute = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes that two images do not have
            metric.update(probs, targets)
            value = metric.compute()
    except (TypeError, ValueError) as error:
        raise UserError(f"metrics.{name}: {error}") from error
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        raise UserError(f"metrics.{name}: its value is not one number, which can be logged")
    metric.reset()
    return metric


def update_metrics(metrics: Iterable[Metric], probs: Tensor, targets: Tensor, *, ignore_index: int) -> None:
    """Take in a batch without the images that only fill it up.

    Args:
        metrics: from `build_metrics`.
        probs: (B, K, ...).
        targets: class indices (B, ...), or 0 and 1 for each class (B, K).
        ignore_index: target of an image that fills up a batch, all of it.
    """
    real = (targets.flatten(1) if targets.ndim > 1 else targets.unsqueeze(1)).ne(ignore_index).any(dim=1)
    probs, targets = probs[real].float(), targets[real].long()
    if len(targets):
        for metric in metrics:
            metric.update(probs, targets)


def gathered_value(metric: Metric, world_size: int) -> float:
    """The metric of what all processes have taken in, the same in each; NaN where that is nothing.

    Every process has to call this. Not torchmetrics' own gathering, which pads tensors and fails where a process
    had no image.

    Args:
        metric: from `build_metrics`.
        world_size: processes.
    """
    if world_size == 1:
        return _computed(metric) if metric.update_called else float("nan")
    from copy import deepcopy

    from torch.distributed import all_gather_object

    whole = deepcopy(metric).cpu()  # so that the states are, too, and this process can go on with its own
    gathered: list[Any] = [None] * world_size
    all_gather_object(gathered, whole.metric_state if metric.update_called else None)
    states = [state for state in gathered if state is not None]
    if not states:
        return float("nan")
    for name, reduction in whole._reductions.items():
        setattr(whole, name, _reduced([state[name] for state in states], reduction))
    whole._update_count, whole._computed = 1, None
    return _computed(whole)


def _computed(metric: Metric) -> float:
    """The value, without torchmetrics' warnings of classes that do not occur, one a class and epoch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(metric.compute())


def _reduced(states: list[Any], reduction: Any) -> Any:
    """One state of all processes, in their order: lists are joined, tensors stacked and reduced."""
    import torch
    from torchmetrics.utilities import dim_zero_cat

    if isinstance(states[0], list):
        return [part for state in states for part in state]
    if reduction is dim_zero_cat:
        return torch.cat([state.reshape(-1) if not state.ndim else state for state in states])
    stacked = torch.stack(states)
    return stacked if reduction is None else reduction(stacked)
