"""Stochastic weight averaging (SWA): the mean of the weights of a run's last epochs, at a learning rate that stays up.

Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
"""

import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch import callbacks
from torch import nn

from callbacks.checkpoint import BestCheckpoint
from settings.errors import UserError


class StochasticWeightAveraging(callbacks.StochasticWeightAveraging):
    """Lightning's, so that the average is scored, saved and resumed.

    After the last epoch comes one more, without a step of the optimiser: the averaged weights take the place of the
    net's, batch norms collect their statistics anew, and the result is validated as any other epoch. Lightning makes
    it for nets with batch norm alone; without it no checkpoint would hold the average.

    The average is over the weights at the start of each epoch from `swa_epoch_start` on.

    Args:
        swa_lrs: learning rate of all groups while averaging.
        swa_epoch_start: the first epoch of the average, counted from 1, or its share of all epochs.
        annealing_epochs: epochs in which the learning rate goes from the schedule's to `swa_lrs`.
        annealing_strategy: along a cosine or a line.
        say: takes the lines that tell what is done; filled in by the run.
    """

    def __init__(
        self,
        *,
        swa_lrs: Annotated[float, "x > 0"],
        swa_epoch_start: Annotated[int, "x >= 1"] | Annotated[float, "0 <= x <= 1"] = 0.8,
        annealing_epochs: Annotated[int, "x >= 0"] = 10,
        annealing_strategy: Literal["cos", "linear"] = "cos",
        say: Callable[[str], None] = print,
    ) -> None:
        super().__init__(
            swa_lrs=swa_lrs,
            swa_epoch_start=swa_epoch_start,
            annealing_epochs=annealing_epochs,
            annealing_strategy=annealing_strategy,
        )
        self.say = say
        self._accumulate_grad_batches = None  # type: ignore[assignment]  # Lightning's, set in the last epoch
        self._stored_epochs: int | None = None

    @staticmethod
    def pl_module_contains_batch_norm(pl_module: LightningModule) -> bool:
        """Whether the average gets an epoch of its own: always."""
        return True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch.

        Raises:
            UserError: the run that goes on was averaged for another number of epochs.
        """
        epochs = trainer.max_epochs
        if self._stored_epochs not in (None, epochs):
            raise UserError(
                f"trainer.max_epochs={epochs}: the average of this run ends after {self._stored_epochs} epochs; "
                "resume=best starts a new run"
            )
        super().on_fit_start(trainer, pl_module)
        self.say(
            f"weight averaging: one epoch more than trainer.max_epochs={epochs}, which scores the averaged weights; "
            "best.ckpt may hold the raw weights of an earlier one"
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take up the learning rate's schedule: a run that goes on in mid-epoch is not told of its start."""
        if trainer.current_epoch > self.swa_end:
            trainer.lr_scheduler_configs.clear()
        elif self._scheduler_state is not None:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Average, or put the average in place."""
        if trainer.current_epoch > self.swa_end:
            # Lightning makes no gradients in this epoch, yet a step at its end: with none left it changes nothing.
            pl_module.zero_grad(set_to_none=True)
            trainer.lr_scheduler_configs.clear()
            self._swa_scheduler = None
        with warnings.catch_warnings():
            # That our schedule is stepped by batches; it has done its part when the average begins.
            warnings.filterwarnings("ignore", message="SWA is currently only supported every epoch")
            super().on_train_epoch_start(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put back what the last epoch changed, and tell whose weights best.ckpt holds."""
        if self._accumulate_grad_batches is not None:
            super().on_train_end(trainer, pl_module)
        best = next(one for one in trainer.checkpoint_callbacks if isinstance(one, BestCheckpoint))
        if trainer.current_epoch - 1 <= self.swa_end:
            self.say("weight averaging: stopped before its last epoch; the checkpoints hold raw weights")
        elif best.epoch is not None and best.epoch <= self.swa_end:
            self.say(
                f"weight averaging: best.ckpt holds the raw weights of epoch {best.epoch + 1}, which scored better "
                "than the average; last.ckpt holds the average"
            )

    def reset_batch_norm_and_save_state(self, pl_module: LightningModule) -> None:
        """Let batch norms collect a plain mean over the epoch; frozen ones keep their statistics."""
        for module in pl_module.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
                self.momenta[module] = module.momentum
                module.reset_running_stats()
                module.momentum = None

    def state_dict(self) -> dict[str, Any]:
        """Lightning's, with the number of epochs that the average was planned for."""
        return {**super().state_dict(), "max_epochs": self._max_epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the average."""
        super().load_state_dict(state_dict)
        self.n_averaged = torch.tensor(state_dict["n_averaged"])
        self._stored_epochs = state_dict["max_epochs"]
