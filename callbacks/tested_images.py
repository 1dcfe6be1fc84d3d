"""What a test remembers of its images: decisions of the net, and the images of highest loss."""

from typing import TYPE_CHECKING, Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from models.analysis.class_scores import HardImage
from models.normalisation import before_normalising

if TYPE_CHECKING:
    from models.tasks.base import Task


class CollectTested(Callback):
    """Collects each image's true and predicted class, where it has one, and the images of highest loss.

    Args:
        hardest: how many images to keep.
        mean: of the normalisation, a number a channel, to show an image as it was before it.
        std: likewise.
    """

    def __init__(self, *, hardest: int, mean: list[float], std: list[float]) -> None:
        self._most = hardest
        self._mean, self._std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
        self._seen = 0
        self._labels: list[Tensor] = []
        self._hard: list[HardImage] = []
        self.count = 0
        """Images that were tested, in all processes."""

    @property
    def labels(self) -> tuple[Tensor, Tensor] | None:
        """True and predicted class indices int64 (N,), in the order of the split; None where images have no class."""
        if not self._labels:
            return None
        rows = torch.cat(self._labels)
        _, true, predicted = rows[rows[:, 0].argsort()].unbind(dim=1)
        return true, predicted

    @property
    def hardest(self) -> list[HardImage]:
        """Images of highest loss: the mistakes among them, then what is right all the same."""
        kept = sorted(self._hard, key=lambda one: (-one.loss, one.index))[: self._most]
        return sorted(kept, key=lambda one: one.is_right)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Take in one batch, whatever the task makes of it; padding is left out."""
        task = cast("Task", pl_module)
        images, targets = batch
        if images.ndim == 5:  # several views of each, of which the first is the image itself
            images = images[:, 0]
        index = (self._seen + torch.arange(len(targets))) * trainer.world_size + trainer.global_rank
        self._seen += len(targets)
        real = task.real(targets).cpu()
        places = real.nonzero()[:, 0]
        self.count += len(places)
        decisions = task.decisions(outputs, batch)
        if decisions is not None:
            self._labels.append(torch.cat((index[:, None], decisions.cpu()), dim=1)[real])
        if not self._most:
            return
        losses = task.image_losses(outputs, batch).detach().double().cpu()
        for place in places[losses[real].topk(min(self._most, len(places))).indices].tolist():
            image = before_normalising(images[place].detach().float().cpu(), self._mean, self._std)
            true, predicted = task.describe(outputs, batch, place)
            self._hard.append(
                HardImage(
                    index=int(index[place]),
                    image=task.draw(image, outputs, batch, place),
                    true=true,
                    predicted=predicted,
                    loss=losses[place].item(),
                    is_right=decisions is not None and bool(decisions[place, 0] == decisions[place, 1]),
                )
            )
        self._hard = self.hardest

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring together what several processes found."""
        if trainer.world_size == 1:
            return
        parts: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, (self._labels, self._hard, self.count))
        self._labels = [labels for part in parts for labels in part[0]]
        self._hard = [hard for part in parts for hard in part[1]]
        self.count = sum(part[2] for part in parts)
