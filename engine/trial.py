"""A few training steps on a copy of the task: what is tried before a run leaves nothing of itself behind.

The steps are a run's own: its data in its order, augmentation, loss, precision, clipping and accumulation. The copy
takes the weights, the optimiser and the modes of the modules with it; random states are put back; nothing is written.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from engine.trainer import quieten

KEPT = frozenset(
    {"accelerator", "precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"}
    | {"limit_train_batches", "limit_val_batches", "deterministic", "benchmark", "inference_mode"}
)
"""Arguments of the trainer that say how a step is made; a trial uses one device."""


def device_of(arguments: Mapping[str, Any]) -> torch.device:
    """Where a trial computes."""
    quieten()
    chosen = {key: value for key, value in arguments.items() if key == "accelerator"}
    return Trainer(**chosen, devices=1, logger=False, enable_checkpointing=False).strategy.root_device


@contextmanager
def trial(
    task: LightningModule,
    data: LightningDataModule,
    *,
    steps: int,
    arguments: Mapping[str, Any],
    callbacks: Sequence[Callback],
) -> Iterator[tuple[Trainer, LightningModule]]:
    """Train a copy of the task for some optimiser steps; give the trainer that did and the copy.

    Args:
        task: as a run would start with it; it is not touched.
        data: the run's; afterwards it belongs to the trainer that it belonged to before.
        steps: optimiser steps, over as many epochs as they take.
        arguments: the run's arguments of `lightning.Trainer`.
        callbacks: what to look at or to change on the way.
    """
    quieten()
    owner, before = data.trainer, task._trainer
    task._trainer = None  # else the copy would take trainer and loaders along
    try:
        copied = copy.deepcopy(task)
    finally:
        task._trainer = before
    chosen = {key: value for key, value in arguments.items() if key in KEPT}
    trainer = Trainer(
        **chosen,
        devices=1,
        max_steps=steps,
        max_epochs=max(steps, arguments.get("max_epochs") or 1),  # an epoch has a step at least
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=steps * (arguments.get("accumulate_grad_batches") or 1) + 1,  # never
        use_distributed_sampler=False,
    )
    with isolate_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode.*")  # frozen parts are
        try:
            trainer.fit(copied, datamodule=data)
            yield trainer, copied
        finally:
            data.trainer = owner
