"""Files that cannot be read: named in RUN/bad_files.csv, and too many of them end the run."""

import csv
import logging
from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from settings.run_folder import RunFolder

log = logging.getLogger(__name__)

NAMED = 3
"""Files that are named on the screen at once."""


class BadFiles(Callback):
    """Keeps `bad_files.csv` (file, reason) up to date, and has the data refuse what is above their budget.

    One process looks after every batch. Of several, each sees its own files, so they bring them together when a pass is
    over, and come to one decision.

    Args:
        record: the run folder; what stands in its file stays, when a run goes on.
    """

    def __init__(self, record: RunFolder) -> None:
        self._record = record
        self._counted = -1
        self._known: dict[str, str] = {}
        self._unsaid: list[str] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take up what an earlier part of the run found, and what a check found before it."""
        path = self._record.folder / "bad_files.csv"
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self._known = {row["file"]: row["reason"] for row in csv.DictReader(file)}
        self._look(trainer)
        self._unsaid = []  # the data have said it

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Look what the workers met."""
        self._look_alone(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Look what the workers met."""
        self._look_alone(trainer)

    def on_test_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Look what the workers met."""
        self._look_alone(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the processes together, and say what is new."""
        self._look(trainer)
        self._say(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the processes together."""
        self._look(trainer)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the processes together, and say what is new."""
        self._look(trainer)
        self._say(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Name the files that may have been the cause."""
        self._keep(trainer, _data(trainer).bad_files())

    def _look_alone(self, trainer: Trainer) -> None:
        if trainer.world_size == 1:
            self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        data = _data(trainer)
        count = data.bad_file_count()
        if trainer.world_size == 1 and count == self._counted:
            return
        self._counted = count
        found = data.bad_files()
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, found)
            found = {key: reason for part in parts for key, reason in part.items()}
        self._keep(trainer, found)
        data.refuse_too_many_bad_files(self._known)

    def _keep(self, trainer: Trainer, found: Mapping[str, str]) -> None:
        new = {key: reason for key, reason in found.items() if key not in self._known}
        if not new:
            return
        self._known |= new
        self._unsaid += [f"{key} {reason}" for key, reason in new.items()]
        for key, reason in new.items():
            log.warning("%s cannot be read: %s", key, reason)
        if trainer.is_global_zero:
            self._record.write_table("bad_files.csv", ("file", "reason"), self._known.items())

    def _say(self, trainer: Trainer) -> None:
        if self._unsaid and trainer.is_global_zero:
            named = ", ".join(self._unsaid[:NAMED]) + (", ..." if len(self._unsaid) > NAMED else "")
            print(f"skipped {len(self._unsaid)} files that cannot be read ({named}): see bad_files.csv", flush=True)
        self._unsaid = []


def _data(trainer: Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]
