"""A frozen body sees each image once: where the head alone trains and nothing is random before it, only features move.

They are computed when training starts, and again when it goes on: nothing of them is in a checkpoint, which holds the
whole net as ever. The sums inside the body depend on the size of a batch in their last digits, so training with and
without this differs by rounding.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import TensorDataset

from models.features import head_input, head_module, is_all_before_head

if TYPE_CHECKING:
    from models.tasks.base import Task

MOST_BYTES = 2 * 1024**3
"""Of memory for the features of all training and validation images; above it they are computed as they are needed."""


class FeaturesOnce(Callback):
    """Give the task features in place of images for as long as it trains, if its data and its plan allow that.

    Args:
        say: takes the line that tells what was done.
    """

    def __init__(self, *, say: Callable[[str], None] = print) -> None:
        self.say = say

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the features, or say why not; say nothing where it was not to be expected."""
        task = cast("Task", pl_module)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not task.freezing.plan.trains_head_alone or data.operations:
            return
        began = time.monotonic()
        reason = "several processes share the images" if trainer.world_size > 1 else self._compute(trainer, task, data)
        if reason:
            self.say(f"frozen features are computed in each epoch: {reason}")
            return
        counts = [f"{len(features)} {split}" for split, features in data.features.items()]
        size = sum(features.tensors[0].nbytes for features in data.features.values())
        self.say(
            f"frozen features of {' and '.join(counts)} images computed once, {size / 1e6:.1f} MB in "
            f"{time.monotonic() - began:.1f} s; the head trains on them"
        )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Back to images: what follows scores the whole net."""
        self._forget(trainer, cast("Task", pl_module))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Back to images, as after a stop by Ctrl-C the best checkpoint is scored."""
        self._forget(trainer, cast("Task", pl_module))

    def _compute(self, trainer: Trainer, task: "Task", data: Any) -> str | None:
        """Fill `data.features` and `task.features_into`; else the reason why not."""
        head = head_module(task.net)
        if head is None:
            return "the head is not one module at the end"
        task.freezing.start_epoch(trainer.current_epoch)
        found: dict[str, TensorDataset] = {}
        with trainer.precision_plugin.forward_context():
            for split in ("train", "val"):
                features: list[Tensor] = []
                labels: list[Tensor] = []
                for images, targets in data.images_in_order(split):
                    # Not the strategy's transfer: that calls the data's hook, which normalises.
                    images, _ = data.evaluation_batch((images.to(trainer.strategy.root_device), targets))
                    if task.channels_last:
                        images = images.contiguous(memory_format=torch.channels_last)
                    if not features and not is_all_before_head(task.net, head, images):
                        return "something random stands before the head, or something after it"
                    features.append(head_input(task.net, head, images)[0].cpu())
                    labels.append(targets)  # not the source's: those of files that cannot be read are blanked
                    per_image = features[0].nbytes / len(features[0])
                    count = sum(len(data.splits[name]) for name in ("train", "val"))
                    if per_image * count > MOST_BYTES:
                        return f"they would take {per_image * count / 1e9:.1f} GB of memory"
                found[split] = TensorDataset(torch.cat(features), torch.cat(labels))
        data.features, task.features_into = found, head
        return None

    def _forget(self, trainer: Trainer, task: "Task") -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        data.features, task.features_into = {}, None
