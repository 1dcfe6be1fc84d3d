"""A run of nothing is refused before it starts: Lightning ends it with success, or with a traceback."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from settings.errors import UserError


class EnoughBatches(Callback):
    """Refuses a split without a single batch, and a validation that no epoch reaches, with the counts that made it so.

    Args:
        test: whether the run ends with a test.
        at_least_one: whether `trainer.limit_*_batches` leaves one batch where the share of them is less: of a debugging
            preset, which is for any data.
    """

    def __init__(self, *, test: bool = True, at_least_one: bool = False) -> None:
        self.test = test
        self.at_least_one = at_least_one

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count, as the trainer will.

        Raises:
            UserError: a split without images, or a limit that leaves no batch.
        """
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for split in ("train", "val"):
            if split in data.splits and not len(data.splits[split]):
                counts = ", ".join(f"{name} {len(source)}" for name, source in data.splits.items())
                raise UserError(f"there are no {split} images ({counts}): nothing to do for this run")
        for split in ("train", "val", *(["test"] if self.test else [])):
            if split in data.splits and len(data.splits[split]):
                self._count(trainer, data, split)
        batches = _left(trainer, "train", len(data.train_dataloader()))
        every = trainer.val_check_interval
        if isinstance(every, int) and every > batches and "val" in data.splits:
            raise UserError(
                f"trainer.val_check_interval={every}: an epoch has {batches} training batches, and no validation would "
                f"be made; at most {batches}, or a share of the epoch such as 0.5"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the trainer of the test do as that of the fit was told."""
        if stage == "test":
            self._count(trainer, trainer.datamodule, "test")  # type: ignore[attr-defined]

    def _count(self, trainer: Trainer, data: Any, split: str) -> None:
        batches = len(getattr(data, f"{split}_dataloader")())
        if _left(trainer, split, batches):
            return
        key = f"limit_{split}_batches"
        if self.at_least_one:
            setattr(trainer, key, 1)
            return
        images = f"{len(data.splits[split])} {split} images"
        raise UserError(
            f"trainer.{key}={getattr(trainer, key)}: of {batches} batches ({images}) it leaves none; a whole number "
            "counts batches"
        )


def _left(trainer: Trainer, split: str, batches: int) -> int:
    """Batches of a split that its limit leaves."""
    limit = getattr(trainer, f"limit_{split}_batches")
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)
