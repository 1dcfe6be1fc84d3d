"""Stops a run whose loss, weights or images are no longer numbers, at the step, before anything of it is saved."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

if TYPE_CHECKING:
    from models.tasks.base import Task

ADVICE = "what was saved is from before. Lower optimizer.lr, set trainer.gradient_clip_val, or look at the data"
FOLD = 64
"""Steps whose norms are kept before they are brought down to the first bad step of each tensor."""
SAVED = ("state_dict", "current_model_state", "averaging_state", "optimizer_states")
"""Parts of a checkpoint that hold numbers to go on from; a best score elsewhere may still be infinite."""


class NumericError(Exception):
    """Something is NaN or infinite; nothing was saved since it became so."""

    exit_code = 5


class FiniteCheck(Callback):
    """Notes on the device in which step the images, the loss or a weight first was not a number.

    A step costs one norm of each tensor and no wait for the device; the norms are looked at every few steps and before
    every save.

    Args:
        every_n_steps: optimiser steps between two looks.
    """

    def __init__(self, *, every_n_steps: int) -> None:
        self._every = every_n_steps
        self._names: list[str] = []
        self._tensors: list[Tensor] = []
        self._images: Tensor | None = None
        self._first: Tensor | None = None  # (2 + weights,): the step in which each was first bad, -1 for never
        self._steps: list[int] = []
        self._norms: list[Tensor] = []
        """A row (2 + weights,) for each of `_steps`, which `_first` does not know of yet."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """List what is watched: parameters, and statistics of norms."""
        named = dict([*pl_module.named_parameters(), *pl_module.named_buffers()])
        watched = {name: one.detach() for name, one in named.items() if one.is_floating_point() and one.numel()}
        self._names, self._tensors = ["the images", "the training loss", *watched], list(watched.values())
        self._first = torch.full((len(self._names),), -1, dtype=torch.int64, device=pl_module.device)
        self._steps, self._norms = [], []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Look at the images as the net gets them."""
        images = batch[0]
        full = images if images.dtype in (torch.float32, torch.float64) else images.float()
        self._images = torch.linalg.vector_norm(full)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss and at all weights."""
        assert self._images is not None
        self._norms.append(torch.stack((self._images, outputs["loss"].detach(), *torch._foreach_norm(self._tensors))))
        self._steps.append(trainer.global_step)
        if trainer.global_step % self._every == 0:
            self.read()
        elif len(self._steps) == FOLD:
            self._fold()

    def _fold(self) -> None:
        """Take the norms of many steps into `_first` at once, without a wait: far cheaper than in each step."""
        if self._first is None or not self._steps:
            return
        bad = ~torch.stack(self._norms).isfinite()  # (steps, 2 + weights)
        steps = torch.tensor(self._steps, device=bad.device)
        fresh = bad.any(dim=0) & (self._first < 0)
        self._first = torch.where(fresh, steps[bad.int().argmax(dim=0)], self._first)  # of equals, argmax is the first
        self._steps, self._norms = [], []

    def read(self) -> None:
        """Ask the device.

        Raises:
            NumericError: names the first tensor that was bad, in the order images, loss, weights.
        """
        self._fold()
        steps = [] if self._first is None else self._first.tolist()
        if all(step < 0 for step in steps):
            return
        # A norm of finite weights can overflow.
        kept = [
            step >= 0 and (index < 2 or not _is_finite(self._tensors[index - 2])) for index, step in enumerate(steps)
        ]
        bad = [index for index, keep in enumerate(kept) if keep]
        if not bad:
            assert self._first is not None
            self._first.fill_(-1)
            return
        first = min(bad, key=lambda index: (steps[index], index))
        others = f", and {len(bad) - 1} more tensors since" if len(bad) > 1 else ""
        raise NumericError(f"{self._names[first]} became NaN or infinite in step {steps[first]}{others}; {ADVICE}")


def refuse_non_finite(trainer: Trainer, task: "Task") -> None:
    """Raise before a state that is no longer made of numbers could be saved.

    Raises:
        NumericError: what FiniteCheck has noted; or the loss of this epoch, or a metric of its validation.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, FiniteCheck):
            callback.read()
    total = task.sums["train"]["loss"].clone()
    loss = trainer.strategy.reduce(total, reduce_op="sum").item()  # all processes stop together
    for name, value in {"the training loss": loss, **task.epoch_metrics}.items():
        if not math.isfinite(value):
            raise NumericError(f"{name} became {value} by step {trainer.global_step}; {ADVICE}")


def refuse_to_save(checkpoint: Mapping[str, Any]) -> None:
    """The last look, at the very tensors that are about to be written.

    Raises:
        NumericError: one of them is not finite.
    """
    for part in SAVED:
        for name, tensor in _tensors(checkpoint.get(part), part):
            if not _is_finite(tensor):
                raise NumericError(f"{name} is NaN or infinite in step {checkpoint.get('global_step')}; {ADVICE}")


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(inner, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _tensors(inner, f"{name}.{index}")


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
