"""Parameter groups, optimisers, and learning-rate schedules as closed forms of the optimiser's step.

A schedule that is a function of the step alone goes on after an interruption exactly where it was.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from pkgutil import iter_modules
from types import MethodType
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from models.penalties import is_weight
from settings.errors import UserError, unknown


class HasParameters(Protocol):
    """A stage of a net, as `models.stages.stages` lists them."""

    @property
    def name(self) -> str:
        """What the stage is called."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Parameters by name."""


def parameter_groups(
    stages: Iterable[HasParameters], *, lr: float, weight_decay: float, shares: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Optimiser groups `decay` and `no_decay` (biases and norms); a group with nothing in it is left out.

    Frozen parameters are in them too: which ones train is a matter of the epoch, and a group that is added
    later upsets schedules and resumes.

    Args:
        stages: the net, input to output.
        lr: base learning rate.
        weight_decay: of `decay`; `no_decay` has none.
        shares: stage -> share of `lr`. Each stage then has its own two groups, `<stage>/decay` and so on, with
            real learning rates (timm's `lr_scale` is passed over by torch's schedules) and a key `stage`.

    Raises:
        ValueError: a parameter stands in two stages.
    """
    groups: dict[str, dict[str, Any]] = {}
    seen: dict[int, str] = {}
    for stage in stages:
        above, own = ("", {}) if shares is None else (f"{stage.name}/", {"stage": stage.name})
        rate = lr if shares is None else lr * shares[stage.name]
        for kind, decay in (("decay", weight_decay), ("no_decay", 0.0)):
            key = f"{above}{kind}"
            groups.setdefault(key, {"name": key, **own, "params": [], "lr": rate, "weight_decay": decay})
        for name, parameter in stage.parameters.items():
            if id(parameter) in seen:
                raise ValueError(f"parameter {name} is in the stages twice, the first time as {seen[id(parameter)]}")
            seen[id(parameter)] = name
            kind = "decay" if is_weight(name, parameter) else "no_decay"
            groups[f"{above}{kind}"]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def build_optimizer(
    groups: list[dict[str, Any]], *, name: str, fused: bool | None = None, **own: Any
) -> torch.optim.Optimizer:
    """The optimiser of that name over groups that carry their own learning rate and weight decay.

    Args:
        groups: as `parameter_groups` makes them, on the device they will train on.
        name: one of ours, of torch's classes, or of timm's names.
        fused: one kernel an update; None: wherever ours have it for the device. (Lightning refuses to clip
            gradients of a fused optimiser under precision `16-mixed`: pass False there.)
        own: the optimiser's own arguments: momentum, nesterov, betas, eps, alpha, rho.

    Raises:
        UserError: there is no such optimiser, or it does not take these values.
    """
    own = {key: tuple(value) if isinstance(value, list) else value for key, value in own.items()}
    parameters = [parameter for group in groups for parameter in group["params"]]
    if own_file("optimizers", name):
        module = import_module(f"models.optimizers.{name}")
        make, kernels = getattr(module, name), getattr(module, "FUSED", ())
        if fused is None:
            fused = all(parameter.device.type in kernels and parameter.is_floating_point() for parameter in parameters)
        own.update({"fused": True} if fused else {})
    else:
        make = _of_library(name)
        own.update({} if fused is None or "fused" not in signature(make).parameters else {"fused": fused})
    for key in ("lr", "weight_decay"):  # the groups have their own; timm's Adafactor has another way without a rate
        if groups and key in signature(make).parameters:
            own[key] = max(group[key] for group in groups)
    try:
        optimizer: torch.optim.Optimizer = make(groups, **own)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"optimizer={name}: {' '.join(str(error).split())}") from error
    if type(optimizer).__module__.startswith("torch.optim."):
        if all(parameter.device.type == "cpu" for parameter in parameters):
            optimizer._accelerator_graph_capture_health_check = _no_graph  # type: ignore[method-assign]
        optimizer.step = MethodType(_step, optimizer)  # type: ignore[method-assign]
    return optimizer


def own_file(folder: str, name: str) -> bool:
    """Whether models/FOLDER has a file of that name: an optimiser or a schedule of ours, or of a forker's."""
    return name.isidentifier() and name != "__init__" and find_spec(f"models.{folder}.{name}") is not None


def _of_library(name: str) -> Callable[..., torch.optim.Optimizer]:
    """Torch's class of exactly that name, else what timm registers under it, with timm's own defaults."""
    found = getattr(torch.optim, name, None)
    if isinstance(found, type) and issubclass(found, torch.optim.Optimizer):
        return found
    from timm import optim as timms

    registered = [str(one) for one in timms.list_optimizers()]
    if name not in registered:
        ours = [module.name for module in iter_modules(import_module("models.optimizers").__path__)]
        raise UserError(unknown("optimizer", name, [*ours, *registered]))
    make: Callable[..., torch.optim.Optimizer] = timms.get_optimizer_class(name)
    has_momentum = timms.get_optimizer_info(name).has_momentum
    return partial(make, momentum=0.9) if has_momentum else make  # as its create_optimizer


def _no_graph() -> None:
    """In place of torch's look, in each step, whether a GPU captures a graph: 0.2 ms on a machine without one."""


def _step(optimizer: torch.optim.Optimizer, closure: Callable[[], Any] | None = None) -> Any:
    """Do torch's own, without its mark for a profiler where none runs and nobody hooked in: 0.1 ms a step of a net."""
    marked: Any = type(optimizer).step
    watched = (
        torch.autograd._profiler_enabled()
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
    )
    return (marked if watched else marked.__wrapped__)(optimizer, closure)


def rate(
    name: str, step: int, *, total_steps: int, steps_per_epoch: int, warmup_epochs: float = 0.0, **own: Any
) -> float:
    """The share of the base learning rate with which optimiser step number `step` (from 0) is made.

    Warm-up rises in a straight line over the first `warmup_epochs * steps_per_epoch` steps, the last of which
    has the full rate, and multiplies the schedule's own shape (Goyal et al. 2017, arxiv.org/abs/1706.02677).
    """
    share = 1.0
    shape = schedule_of(name)
    if not isinstance(shape, type):
        where = {
            "step": step,
            "epoch": step // steps_per_epoch,
            "total_steps": total_steps,
            "progress": min(1.0, step / total_steps),
        }
        share = shape(**{key: where[key] for key in _positions(shape)}, **own)
    warmup_steps = warmup_epochs * steps_per_epoch
    return share * min(1.0, (step + 1) / warmup_steps) if warmup_steps else share


@cache
def schedule_of(name: str) -> Callable[..., Any]:
    """A schedule's function, or the class of one that watches a metric.

    Raises:
        UserError: there is no such schedule.
    """
    if not own_file("schedules", name):
        known = [module.name for module in iter_modules(import_module("models.schedules").__path__)]
        raise UserError(unknown("scheduler", name, known))
    module = import_module(f"models.schedules.{name}")
    found: Callable[..., Any] = getattr(module, name, None) or getattr(module, name.title().replace("_", ""))
    return found


@cache
def _positions(shape: Callable[..., float]) -> tuple[str, ...]:
    """What a schedule wants to know of where training is: the parameters before its `*`."""
    return tuple(
        name for name, parameter in signature(shape).parameters.items() if parameter.kind != Parameter.KEYWORD_ONLY
    )


class Schedule(LRScheduler):
    """Learning rate = base * `rate(name, step, ...)` * reduction; stepped once after each optimiser step.

    Its state is the step and what was seen of the metric. Everything else is configuration, so a run that goes on
    with another length, or another base rate, follows the new curve from the step it is at.

    Args:
        optimizer: its groups' learning rates are the base.
        name: a file of models/schedules.
        total_steps: optimiser steps of the whole run.
        steps_per_epoch: optimiser steps of one epoch.
        warmup_epochs: length of the warm-up, fractions allowed; 0 for a schedule that has its own.
        mode: whether the watched metric is better when larger (`max`) or smaller (`min`).
        own: the schedule's own arguments.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        name: str,
        total_steps: int,
        steps_per_epoch: int,
        warmup_epochs: float = 0.0,
        mode: str = "max",
        **own: Any,
    ) -> None:
        shape = schedule_of(name)
        if warmup_epochs and getattr(import_module(f"models.schedules.{name}"), "WARMS_UP", False):
            raise UserError(f"scheduler.warmup_epochs={warmup_epochs}: {name} rises by itself; set warmup_epochs to 0")
        if total_steps < 1 or steps_per_epoch < 1:
            raise ValueError(f"a schedule needs steps: {total_steps} in all, {steps_per_epoch} an epoch")
        self.watcher = shape(mode=mode, **own) if isinstance(shape, type) else None
        self.name = name
        self.arguments = {
            "total_steps": total_steps,
            "steps_per_epoch": steps_per_epoch,
            "warmup_epochs": warmup_epochs,
            **({} if self.watcher else own),
        }
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Learning rate of each group for the next optimiser step."""
        reduction = self.watcher.reduction if self.watcher else 1.0
        share = rate(self.name, self.last_epoch, **self.arguments) * reduction
        return [base * share for base in self.base_lrs]

    def observe(self, value: float) -> None:
        """Show the metric of one validation to a schedule that watches it; it counts from the next step on."""
        if self.watcher is None:
            raise ValueError(f"schedule {self.name} watches no metric; plateau does")
        self.watcher.observe(value)
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """The step (`last_epoch`, torch's name for it) and what was seen of the metric, as plain values."""
        return {"last_epoch": self.last_epoch, **(self.watcher.state_dict() if self.watcher else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, and set the optimiser's learning rates to its."""
        self.last_epoch = state_dict["last_epoch"]
        if self.watcher:
            self.watcher.load_state_dict(state_dict)
        self._apply()

    def _apply(self) -> None:
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr
