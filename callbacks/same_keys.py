"""Several processes have to log the same values: Lightning sums them in their order, whatever their names are."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from settings.errors import UserError


class SameKeys(Callback):
    """Ends a run whose processes log different values with `self.log`; one mean would be made of two things.

    Looks at each epoch's first batch and at its end, before Lightning brings the epoch's values together. What only
    process 0 logs (`rank_zero_only=True`) is its own.
    """

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """Look once an epoch."""
        if rest[-1] == 0:
            self._compare(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the whole of it."""
        self._compare(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise."""
        self._compare(trainer)

    def _compare(self, trainer: Trainer) -> None:
        if trainer.world_size == 1 or trainer._results is None:
            return
        own = [one.meta.name for one in trainer._results.values() if not one.meta.sync.rank_zero_only]
        found: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(found, own)
        for rank, names in enumerate(found):
            if names != found[0]:
                differ = [sorted(set(one) - set(other)) for one, other in ((found[0], names), (names, found[0]))]
                shown = [", ".join(part) or "nothing else" for part in differ]
                if not any(differ):
                    shown = [", ".join(found[0]), ", ".join(names)]
                raise UserError(
                    f"processes log different values: process 0 {shown[0]}, process {rank} {shown[1]}; all have to log "
                    "the same ones in the same order, or self.log(..., rank_zero_only=True)"
                )
