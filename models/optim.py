"""Parameter groups, optimisers, and learning-rate schedules as closed forms of the optimiser's step.

A schedule that is a function of the step alone goes on after an interruption exactly where it was.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import MethodType
from typing import Any, Literal, Protocol

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from models.penalties import is_weight
from settings.errors import UserError, unknown

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
}

FUSED = {
    "sgd": ("cpu", "cuda", "mps", "xpu"),
    "adam": ("cpu", "cuda", "mps", "xpu"),
    "adamw": ("cpu", "cuda", "mps", "xpu"),
    "adagrad": ("cpu",),
}
"""Device types for which torch has the whole update as one kernel."""


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
        name: a key of `OPTIMIZERS`.
        fused: one kernel an update; None: wherever torch has it for the device. (Lightning refuses to clip
            gradients of a fused optimiser under precision `16-mixed`: pass False there.)
        own: the optimiser's own arguments: momentum, nesterov, betas, eps, alpha, rho.
    """
    if name not in OPTIMIZERS:
        raise UserError(unknown("optimizer", name, OPTIMIZERS))
    if "betas" in own:
        own["betas"] = tuple(own["betas"])
    parameters = [parameter for group in groups for parameter in group["params"]]
    if fused is None:
        fused = all(
            parameter.device.type in FUSED.get(name, ()) and parameter.is_floating_point() for parameter in parameters
        )
    if fused:
        own["fused"] = True
    optimizer = OPTIMIZERS[name](groups, **own)
    if all(parameter.device.type == "cpu" for parameter in parameters):
        optimizer._accelerator_graph_capture_health_check = _no_graph  # type: ignore[method-assign]
    optimizer.step = MethodType(_step, optimizer)  # type: ignore[method-assign]
    return optimizer


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


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Where training is: optimiser steps done, of how many, and how many make an epoch."""

    step: int
    total_steps: int
    steps_per_epoch: int

    @property
    def epoch(self) -> int:
        """Epochs completed: what schedules with a value an epoch look at."""
        return self.step // self.steps_per_epoch


def constant(clock: Clock) -> float:
    """1."""
    return 1.0


def step_decay(clock: Clock, *, every_epochs: int, gamma: float) -> float:
    """`gamma` to the number of completed periods of `every_epochs` epochs (torch's StepLR)."""
    return gamma ** (clock.epoch // every_epochs)


def exponential(clock: Clock, *, gamma: float) -> float:
    """`gamma` to the number of completed epochs (torch's ExponentialLR)."""
    return gamma**clock.epoch


def inverse_time(clock: Clock, *, decay: float, per: Literal["epoch", "step"]) -> float:
    """1 / (1 + decay * t), with t in completed epochs or steps."""
    return 1 / (1 + decay * (clock.epoch if per == "epoch" else clock.step))


def inverse_time_compound(clock: Clock, *, decay: float, per: Literal["epoch", "step"]) -> float:
    """1 / (1 + decay)^t, with t in completed epochs or steps: the rate is divided by 1 + decay each time."""
    return (1 + decay) ** -(clock.epoch if per == "epoch" else clock.step)


def cosine(clock: Clock, *, final_fraction: float) -> float:
    """Half a cosine from 1 at step 0 to `final_fraction` at `total_steps` (torch's CosineAnnealingLR)."""
    return _anneal(1.0, final_fraction, min(1.0, clock.step / clock.total_steps))


def linear(clock: Clock, *, final_fraction: float) -> float:
    """A straight line from 1 at step 0 to `final_fraction` at `total_steps` (torch's LinearLR from 1)."""
    return 1.0 + (final_fraction - 1.0) * min(1.0, clock.step / clock.total_steps)


def one_cycle(clock: Clock, *, peak_fraction: float, start_fraction: float, final_fraction: float) -> float:
    """Half a cosine up from `start_fraction` to 1, then half a cosine down to `final_fraction`.

    The peak is reached after `peak_fraction` of all steps, the end in the last step. This is the better known
    form, torch's OneCycleLR with its defaults (cosine both ways) and momentum left alone: start_fraction is
    1 / div_factor, final_fraction is start_fraction / final_div_factor. Smith and Topin 2017,
    arxiv.org/abs/1708.07120, have straight lines.
    """
    last = clock.total_steps - 1
    step = min(clock.step, last)
    peak = peak_fraction * clock.total_steps - 1
    if step == peak:
        return 1.0
    if step < peak:
        return _anneal(start_fraction, 1.0, step / peak)
    return _anneal(1.0, final_fraction, (step - peak) / (last - peak))


SHAPES: dict[str, Callable[..., float]] = {
    "constant": constant,
    "step": step_decay,
    "exponential": exponential,
    "inverse_time": inverse_time,
    "inverse_time_compound": inverse_time_compound,
    "cosine": cosine,
    "linear": linear,
    "one_cycle": one_cycle,
    "plateau": constant,
}


def rate(
    name: str, step: int, *, total_steps: int, steps_per_epoch: int, warmup_epochs: float = 0.0, **own: Any
) -> float:
    """The share of the base learning rate with which optimiser step number `step` (from 0) is made.

    Warm-up rises in a straight line over the first `warmup_epochs * steps_per_epoch` steps, the last of which
    has the full rate, and multiplies the schedule's own shape (Goyal et al. 2017, arxiv.org/abs/1706.02677).
    """
    shape = SHAPES[name](Clock(step=step, total_steps=total_steps, steps_per_epoch=steps_per_epoch), **own)
    warmup_steps = warmup_epochs * steps_per_epoch
    return shape * min(1.0, (step + 1) / warmup_steps) if warmup_steps else shape


@dataclass(kw_only=True)
class Plateau:
    """Multiply the rate by `factor` when the metric has not improved for more than `patience` observations.

    Better means by more than the share `threshold` of the best (torch's ReduceLROnPlateau with threshold_mode
    `rel`). The reduction never goes below `min_fraction`.
    """

    factor: float
    patience: int
    threshold: float
    min_fraction: float
    mode: str = "max"
    reduction: float = field(default=1.0, init=False)
    best: float | None = field(default=None, init=False)
    waited: int = field(default=0, init=False)

    def observe(self, value: float) -> None:
        """Take in the metric of one validation; NaN is no improvement."""
        sign = 1.0 if self.mode == "max" else -1.0
        best = -sign * math.inf if self.best is None else self.best
        if sign * value > sign * best * (1 + sign * self.threshold):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.reduction = max(self.reduction * self.factor, self.min_fraction)
            self.waited = 0


PLATEAU_STATE = ("reduction", "best", "waited")


class Schedule(LRScheduler):
    """Learning rate = base * `rate(name, step, ...)` * reduction; stepped once after each optimiser step.

    Its state is the step and what plateau has seen. Everything else is configuration, so a run that goes on
    with another length, or another base rate, follows the new curve from the step it is at.

    Args:
        optimizer: its groups' learning rates are the base.
        name: a key of `SHAPES`.
        total_steps: optimiser steps of the whole run.
        steps_per_epoch: optimiser steps of one epoch.
        warmup_epochs: length of the warm-up, fractions allowed; 0 for one_cycle, which has its own.
        mode: whether plateau's metric is better when larger (`max`) or smaller (`min`).
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
        if name not in SHAPES:
            raise UserError(unknown("scheduler", name, SHAPES))
        if name == "one_cycle" and warmup_epochs:
            raise UserError(
                f"scheduler.warmup_epochs={warmup_epochs}: one_cycle rises by itself, over "
                "scheduler.peak_fraction of the run; set warmup_epochs to 0"
            )
        if total_steps < 1 or steps_per_epoch < 1:
            raise ValueError(f"a schedule needs steps: {total_steps} in all, {steps_per_epoch} an epoch")
        self.plateau = Plateau(mode=mode, **own) if name == "plateau" else None
        self.name = name
        self.arguments = {
            "total_steps": total_steps,
            "steps_per_epoch": steps_per_epoch,
            "warmup_epochs": warmup_epochs,
            **({} if self.plateau else own),
        }
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Learning rate of each group for the next optimiser step."""
        reduction = self.plateau.reduction if self.plateau else 1.0
        share = rate(self.name, self.last_epoch, **self.arguments) * reduction
        return [base * share for base in self.base_lrs]

    def observe(self, value: float) -> None:
        """Show plateau the metric of one validation; a reduction holds from the next optimiser step on."""
        if self.plateau is None:
            raise ValueError(f"schedule {self.name} watches no metric; only plateau does")
        self.plateau.observe(value)
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """The step (`last_epoch`, torch's name for it) and what plateau has seen, as plain values."""
        seen = asdict(self.plateau) if self.plateau else {}
        return {"last_epoch": self.last_epoch, **{key: seen[key] for key in PLATEAU_STATE if key in seen}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, and set the optimiser's learning rates to its."""
        self.last_epoch = state_dict["last_epoch"]
        if self.plateau:
            for key in PLATEAU_STATE:
                setattr(self.plateau, key, state_dict.get(key, getattr(self.plateau, key)))
        self._apply()

    def _apply(self) -> None:
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = lr


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
