"""How long the slowest training step took."""

import time
from typing import Annotated, Any

from lightning import Callback, LightningModule, Trainer


class LongestStep(Callback):
    """Log the longest of the steps since the last epoch's end as `longest_step`, in units of `unit` seconds."""

    def __init__(self, *, unit: Annotated[float, "x > 0"] = 1.0) -> None:
        self.unit = unit
        self.longest = 0.0

    def on_train_batch_start(self, trainer: Trainer, task: LightningModule, batch: Any, index: int) -> None:
        """Take the time."""
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, outputs: Any, batch: Any, index: int) -> None:
        """Compare it with the longest so far."""
        self.longest = max(self.longest, time.perf_counter() - self.started)

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        """Log it."""
        task.log("longest_step", self.longest / self.unit)
        self.longest = 0.0
