"""The running average of the weights (EMA): validated, tested and saved in place of the weights, once it has begun."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging


class RunningAverage(WeightAveraging):
    """Keep average = decay * average + (1 - decay) * weights, over parameters and floating buffers.

    It begins as the weights of its first update; until then the weights themselves are validated, tested and saved.
    It is computed as average + (1 - decay) * (weights - average), and whole numbers (batch norm's count) are copied:
    so what is frozen keeps its bytes, where Lightning's `EMAWeightAveraging` lets it drift by rounding.

    Args:
        decay: in [0, 1).
        every_n_steps: optimiser steps between two updates.
        start_step: the average is that of the weights from this step on.
        warm_up: update t, counted from 0, takes min(decay, (1 + t) / (10 + t)), as TensorFlow's
            `ExponentialMovingAverage` does with `num_updates`: otherwise the average of a run that is short beside
            1 / (1 - decay) steps is mostly that of its first ones.
        say: takes the line that tells of a run which ends before its average begins; filled in by the run.
    """

    def __init__(
        self,
        *,
        decay: float,
        every_n_steps: int = 1,
        start_step: int = 0,
        warm_up: bool = True,
        say: Callable[[str], None] = print,
    ) -> None:
        def average(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
            return averaged.lerp(current, 1 - self.decay_now()) if averaged.is_floating_point() else current

        super().__init__(use_buffers=True, avg_fn=average)
        self.decay, self.every_n_steps, self.start_step, self.warm_up = decay, every_n_steps, start_step, warm_up
        self.say = say
        self._updates = 0
        self._swapped = False

    @property
    def begun(self) -> bool:
        """Whether there is an average."""
        return self._updates > 0

    def decay_now(self) -> float:
        """Decay of the next update."""
        return min(self.decay, (1 + self._updates) / (10 + self._updates)) if self.warm_up else self.decay

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to update after optimiser step `step_idx` (from 0)."""
        if step_idx is None or step_idx < self._first_update:
            return False
        return step_idx % self.every_n_steps == 0

    @property
    def _first_update(self) -> int:
        """Step (from 0) of the first update: not the very first where several lie between two."""
        start = max(self.start_step, self.every_n_steps - 1)
        return -(-start // self.every_n_steps) * self.every_n_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so where the run ends before the average begins."""
        steps = trainer.estimated_stepping_batches
        if not self.begun and steps <= self._first_update:
            self.say(
                f"callbacks.ema: the average begins after step {self._first_update + 1}, and the run has {steps:.0f}: "
                "the weights themselves are validated, tested and saved"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update after an optimiser step, if it is one to update after."""
        before = self._latest_update_step
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._updates += self._latest_update_step > before

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the net."""
        if self.begun:
            super().on_train_end(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        if self.begun:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights back."""
        if self._swapped:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the weights back where a validation was interrupted, before they are saved."""
        if self._swapped:
            self._swap_models(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average under `state_dict`, and the weights beside it."""
        if self.begun:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take up the average; of a run that has none yet, or kept none until now, it begins here."""
        if self._average_model is not None and "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
            self._updates = int(checkpoint["averaging_state"]["n_averaged"])

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped
