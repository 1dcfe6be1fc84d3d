"""The learning rate, recorded under one name whatever the optimiser is called."""

from typing import Any

from lightning import Callback, LightningModule, Trainer


class LearningRateMonitor(Callback):
    """Record `lr`, the rate of the head's group, with which an optimiser step was made.

    Where stages have groups of their own, `lr/<stage>` too: 0 while the stage is frozen; none for a stage that
    never trains.

    It writes after the first step, after every `every_n_steps`-th and at each epoch's end; the row's step is the
    number of steps made. (Lightning's own monitor names it after optimiser and group, such as `lr-AdamW/pg1`.)

    Args:
        every_n_steps: optimiser steps between two records; accumulated batches count once.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, not {every_n_steps}")
        self.every_n_steps = every_n_steps
        self._steps = 0
        self._rates: dict[str, float] = {}
        self._recorded: int | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the rate now: after the batch, the schedule has already set the next one."""
        self._steps = trainer.global_step
        self._rates = _rates(trainer.optimizers[0].param_groups)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record it where this batch completed a step."""
        steps = trainer.global_step
        if steps > self._steps and (steps == 1 or steps % self.every_n_steps == 0):
            self._record(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the rate of the epoch's last step, beside the epoch's other figures."""
        if self._rates:
            self._record(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The newest step's rates: a run that was stopped in its validation goes on without a step before the end."""
        return {"rates": self._rates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them up."""
        self._rates = state_dict["rates"]

    def _record(self, trainer: Trainer) -> None:
        if trainer.global_step == self._recorded:  # an epoch's last step may be one of every_n_steps
            return
        self._recorded = trainer.global_step
        for logger in trainer.loggers:
            logger.log_metrics(self._rates, step=trainer.global_step)


def _rates(groups: list[dict[str, Any]]) -> dict[str, float]:
    rates = {"lr": float(groups[-1]["lr"])}
    for group in groups:
        if "stage" in group and group["initial_lr"]:
            trains = any(parameter.requires_grad for parameter in group["params"])
            rates[f"lr/{group['stage']}"] = float(group["lr"]) if trains else 0.0
    return rates
