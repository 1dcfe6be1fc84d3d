"""The running average of the weights (EMA): validated, tested and saved in place of the weights themselves."""

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging


class RunningAverage(WeightAveraging):
    """Keep average = decay * average + (1 - decay) * weights, over parameters and floating buffers.

    It is computed as average + (1 - decay) * (weights - average), and whole numbers (batch norm's count) are copied:
    so what is frozen keeps its bytes, where Lightning's `EMAWeightAveraging` lets it drift by rounding.

    Args:
        decay: in [0, 1).
        every_n_steps: optimiser steps between two updates.
        start_step: the average is that of the weights from this step on.
    """

    def __init__(self, *, decay: float, every_n_steps: int = 1, start_step: int = 0) -> None:
        def average(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
            return averaged.lerp(current, 1 - decay) if averaged.is_floating_point() else current

        super().__init__(use_buffers=True, avg_fn=average)
        self.every_n_steps, self.start_step = every_n_steps, start_step
        self._swapped = False

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to update after optimiser step `step_idx` (from 0)."""
        return step_idx is not None and step_idx >= self.start_step and step_idx % self.every_n_steps == 0

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the weights back where a validation was interrupted, before they are saved."""
        if self._swapped:
            self._swap_models(pl_module)

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self._swapped = not self._swapped
