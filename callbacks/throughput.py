"""How long training took, and how many images a second it took in."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Throughput(Callback):
    """Counts training images and seconds of training, validation and saving left out; goes on after a resume."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.samples = 0
        self._since: float | None = None

    @property
    def samples_per_second(self) -> float:
        """Images of all processes, a second."""
        return self.samples / self.seconds if self.seconds else 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start it again after validation or a resume."""
        if self._since is None:
            self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch."""
        self.samples += len(batch[0]) * trainer.world_size
        now = time.perf_counter()
        if self._since is not None:
            self.seconds += now - self._since
        self._since = now

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._since = None

    def state_dict(self) -> dict[str, Any]:
        """Both sums."""
        return {"seconds": self.seconds, "samples": self.samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from earlier sums."""
        self.seconds, self.samples = state_dict["seconds"], state_dict["samples"]
