"""Which learning rate: the range test (Smith 2015, arxiv.org/abs/1506.01186), and several rates side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from lightning import Callback, LightningDataModule, LightningModule, Trainer

from engine.trial import trial

WINDOW = 20
"""A range test's running mean looks back over a twentieth of its steps: more would lag behind the rising rate."""
COMPARED = 0.9
"""Share of the past in the running mean where the rate stands still."""
DIVERGED = 4.0
"""The range test stops where the smoothed loss is this many times its best."""
SETTLING = 5
"""First steps whose slope is not looked at: the running mean has seen too little."""


@dataclass(frozen=True, kw_only=True)
class LossCurve:
    """What some steps at given rates did to the loss.

    Attributes:
        rates: learning rate of each step that was made.
        losses: mean training loss of each step's images, before the step.
        past: share of the past in the running mean.
        metrics: of the validation images afterwards, where they were looked at; the task's first metric in front.
        mode: which end of that one is good, `max` or `min`.
    """

    rates: list[float]
    losses: list[float]
    past: float
    metrics: dict[str, float] = field(default_factory=dict)
    mode: str = "max"

    @property
    def score(self) -> tuple[str, float] | None:
        """Name and value of the first metric; None where the rate diverged."""
        return next(iter(self.metrics.items()), None)

    @property
    def smoothed(self) -> list[float]:
        """The running mean of the losses."""
        return smooth(self.losses, self.past)

    def said(self) -> str:
        """What a rate that was held constant came to, in one line."""
        line = f"lr {self.rates[0]:g}: loss {self.smoothed[-1]:.4f} after {len(self.losses)} steps, "
        found = ", ".join(f"{name} {value:.4f}" for name, value in self._shown().items())
        return line + (found or "diverged")

    def _shown(self) -> dict[str, float]:
        first = [] if self.score is None else [self.score[0]]
        return {name: self.metrics[name] for name in dict.fromkeys([*first, "val/loss"]) if name in self.metrics}


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What a range test says.

    Attributes:
        steepest: rate at which the smoothed loss falls fastest against the logarithm of the rate.
        lowest: rate at which it is lowest; a tenth of it is the usual choice.
    """

    steepest: float
    lowest: float

    @property
    def tenth(self) -> float:
        """A tenth of the rate with the lowest loss."""
        return self.lowest / 10


class FollowRates(Callback):
    """Sets the rate of each optimiser step, in place of the schedule, and keeps its loss.

    Groups with a rate of their own keep their ratio to the base rate.

    Args:
        rates: one a step.
        base: `optimizer.lr` of the run.
        past: share of the past in the running mean of the loss.
        diverged: stop where that mean is this many times its best; a loss that is no number always stops.
    """

    def __init__(
        self, rates: Sequence[float], *, base: float, past: float = COMPARED, diverged: float = math.inf
    ) -> None:
        self.rates, self.base, self.past, self.diverged = list(rates), base, past, diverged
        self.losses: list[float] = []
        self._window = 0.0

    @property
    def curve(self) -> LossCurve:
        """What there is so far."""
        return LossCurve(rates=self.rates[: len(self.losses)], losses=self.losses, past=self.past)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Overwrite what the schedule has set."""
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rates[len(self.losses)] * group["initial_lr"] / self.base

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss of the step; accumulated batches come divided by their number and add up."""
        self._window += float(outputs["loss"])
        if trainer.global_step == len(self.losses):
            return
        self.losses.append(self._window)
        self._window = 0.0
        smoothed = smooth(self.losses, self.past)
        if not math.isfinite(smoothed[-1]) or smoothed[-1] > self.diverged * min(smoothed):
            trainer.should_stop = True


def range_test(
    task: LightningModule,
    data: LightningDataModule,
    *,
    base: float,
    lowest: float,
    highest: float,
    steps: int,
    arguments: Mapping[str, Any],
) -> LossCurve:
    """Let the rate rise from `lowest` to `highest` over some steps; stop when the loss diverges.

    Args:
        task: as a run would start with it; not touched.
        data: the run's data module.
        base: `optimizer.lr` of the run, which the groups' own rates belong to.
        lowest: rate of the first step.
        highest: rate of the last step.
        steps: how many.
        arguments: the run's arguments of `lightning.Trainer`.
    """
    past = max(0.5, 1 - WINDOW / steps)
    follow = FollowRates(rising(lowest, highest, steps), base=base, past=past, diverged=DIVERGED)
    with trial(task, data, steps=steps, arguments=arguments, callbacks=[follow]):
        return follow.curve


def compare_rates(
    task: LightningModule,
    data: LightningDataModule,
    rates: Sequence[float],
    *,
    base: float,
    steps: int,
    arguments: Mapping[str, Any],
) -> list[LossCurve]:
    """Train from the same start with each rate, held constant, on the same batches; then validate once."""
    curves = []
    for rate in rates:
        follow = FollowRates([rate] * steps, base=base)
        with trial(task, data, steps=steps, arguments=arguments, callbacks=[follow]) as (trainer, trained):
            metrics: dict[str, float] = {}
            if all(map(math.isfinite, follow.losses)):
                trainer.validate(trained, datamodule=data, verbose=False)
                metrics = {key: value for key, value in trained.epoch_metrics.items() if key.startswith("val/")}  # type: ignore[union-attr, operator]
        modes: dict[str, str] = task.metrics  # type: ignore[assignment]
        curves.append(replace(follow.curve, metrics=metrics, mode=next(iter(modes.values()))))
    return curves


def rising(lowest: float, highest: float, steps: int) -> list[float]:
    """Rates that grow by the same factor each step, ends included."""
    return [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(steps)]


def smooth(losses: Sequence[float], share: float) -> list[float]:
    """Exponential running mean, corrected for its start (Adam's correction)."""
    mean, smoothed = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = share * mean + (1 - share) * loss
        smoothed.append(mean / (1 - share**step))
    return smoothed


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> Suggestion | None:
    """The steepest descent and the minimum of a range test; None where the loss did not fall.

    Only what comes before the minimum counts for the slope: behind it the loss rises, or swings on its way up.
    """
    finite = [value if math.isfinite(value) else math.inf for value in smoothed]
    bottom = int(np.argmin(finite)) if finite else 0
    if bottom < SETTLING + 2:
        return None
    slope = np.gradient(np.array(finite[: bottom + 1]), np.log10(rates[: bottom + 1]))
    steepest = SETTLING + int(np.argmin(slope[SETTLING:]))
    if slope[steepest] >= 0:
        return None
    return Suggestion(steepest=rates[steepest], lowest=rates[bottom])


def best_rate(curves: Sequence[LossCurve]) -> float | None:
    """The rate whose weights were best by the task's first metric, ties by the loss; None where all diverged."""

    def goodness(curve: LossCurve) -> tuple[float, float]:
        assert curve.score is not None
        value = curve.score[1]
        return value if curve.mode == "max" else -value, -curve.metrics["val/loss"]

    sound = [curve for curve in curves if curve.score is not None]
    return max(sound, key=goodness).rates[0] if sound else None


def range_said(curve: LossCurve, steps: int, suggestion: Suggestion | None) -> list[str]:
    """What a range test found, in words; `steps` is how many were planned."""
    end = "" if len(curve.losses) == steps else ": the loss diverged"
    lines = [f"{len(curve.losses)} of {steps} steps, rates {curve.rates[0]:.2g} to {curve.rates[-1]:.2g}{end}"]
    if suggestion:
        tenth = f"lowest loss at {suggestion.lowest:.2g}, a tenth of it is {suggestion.tenth:.2g}"
        lines.append(f"steepest descent at {suggestion.steepest:.2g}; {tenth}")
    return lines
