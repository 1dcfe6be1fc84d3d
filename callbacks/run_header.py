"""What a run is, in a few lines before its first step: folder, data, device and precision, steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer


class RunHeader(Callback):
    """Says the lines once, when the trainer knows them all.

    Args:
        say: prints a line and keeps it in the run's log.
    """

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self._say = say

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say them."""
        data, config = cast(Any, trainer).datamodule, getattr(pl_module, "card", {}).get("config", {})
        name = config.get("data", {}).get("name", type(data).__name__)
        images = ", ".join(f"{len(source):,} {split}" for split, source in data.splits.items())
        workers = getattr(trainer.train_dataloader, "num_workers", 0)
        lines = {
            "folder": nearest_path(Path(trainer.default_root_dir)),
            "data": f"{name}: {images} images, {len(data.class_names)} classes"
            + (f", {workers} workers" if workers else ""),
            "device": f"{device_name(trainer)}, precision {trainer.precision}",
            "training": steps(trainer, batch_size=data.batch_size),
        }
        for what, line in lines.items():
            self._say(f"{what:<8}  {line}")


def nearest_path(path: Path) -> str:
    """The path from here, where it lies below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def device_name(trainer: Trainer) -> str:
    """What computes, how much memory it has where that is its own, and in how many processes."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        name = f"{found.name} ({found.total_memory / 1e9:.0f} GB)"
    else:
        threads = torch.get_num_threads()
        name = f"CPU ({threads} thread{'s' * (threads > 1)})" if device.type == "cpu" else device.type.upper()
    return name if trainer.world_size == 1 else f"{trainer.world_size} processes on {name}"


def steps(trainer: Trainer, *, batch_size: int) -> str:
    """Epochs and steps, what is done already among them."""
    each = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
    ends = trainer.max_epochs is not None and trainer.max_epochs > 0
    epochs = f"{trainer.max_epochs} epochs of {each:,} steps" if ends else f"{each:,} steps an epoch"
    if trainer.max_steps > 0:
        epochs += f", at most {trainer.max_steps:,}"
    done = f", {trainer.global_step:,} steps done" if trainer.global_step else ""
    return f"{epochs}, batch size {batch_size}{done}"
