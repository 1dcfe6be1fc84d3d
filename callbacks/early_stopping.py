"""Early stopping by the monitored metric of validated epochs."""

from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping


class Patience(EarlyStopping):
    """Lightning's, but for two things: an epoch without validation does not count, and patience may change on resume.

    Lightning's compares such an epoch's stale metric once more, or, after a resume, ends the run as it has none; and it
    puts the patience of a checkpoint in place of the one that is asked for now.

    Args:
        monitor: the metric, read from the task's figures of the epoch.
        mode: `max` or `min`.
        patience: validated epochs without a gain.
        min_delta: what counts as a gain.
        stopping_threshold: stop as soon as the metric is better than this.
    """

    def __init__(
        self,
        *,
        monitor: str,
        mode: str,
        patience: int,
        min_delta: float = 0.0,
        stopping_threshold: float | None = None,
    ) -> None:
        super().__init__(
            monitor,
            mode=mode,
            patience=patience,
            min_delta=min_delta,
            stopping_threshold=stopping_threshold,
            check_on_train_epoch_end=True,
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Compare, if there is something new."""
        value = pl_module.monitored()
        if value is not None:
            # Of a run that was stopped between a validation and its epoch's end, Lightning does not know it any more.
            trainer.callback_metrics.setdefault(self.monitor, torch.tensor(value))
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the count and the best score."""
        super().load_state_dict({**state_dict, "patience": self.patience})
