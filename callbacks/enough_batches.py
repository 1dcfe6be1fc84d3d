"""A run of nothing is refused before it starts: Lightning ends it with success."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from settings.errors import UserError


class EnoughBatches(Callback):
    """Refuses a training or validation without a single batch, with the counts that made it so."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count, as the trainer will.

        Raises:
            UserError: a split without images, or a limit that leaves no batch.
        """
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for split, loader in (("train", data.train_dataloader), ("val", data.val_dataloader)):
            if split not in data.splits:
                continue
            images = len(data.splits[split])
            if not images:
                counts = ", ".join(f"{name} {len(source)}" for name, source in data.splits.items())
                raise UserError(f"there are no {split} images ({counts}): nothing to do for this run")
            batches = len(loader())
            limit = getattr(trainer, f"limit_{split}_batches")
            left = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
            if not left:
                counted = f"of {batches} batches ({images} {split} images) it leaves none"
                raise UserError(f"trainer.limit_{split}_batches={limit}: {counted}")
