"""What a test found beside its metrics: each image's label and loss, a score per class, the hardest images."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from models.analysis.class_scores import PADDING, HardImage


class TestScores(Callback):
    """Collects labels, and the images of highest loss, while a classification task is tested.

    Args:
        hardest: how many images to keep.
        mean: of the normalisation, a number a channel, to show an image as it was before it.
        std: likewise.
    """

    __test__ = False  # its name begins like a test's

    def __init__(self, *, hardest: int, mean: list[float], std: list[float]) -> None:
        self._most = hardest
        self._mean, self._std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
        self._seen = 0
        self._labels: list[Tensor] = []
        self._hard: list[HardImage] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was tested."""
        return not self._labels

    @property
    def labels(self) -> tuple[Tensor, Tensor]:
        """True and predicted class indices int64 (N,), in the order of the split."""
        rows = torch.cat(self._labels)
        _, true, predicted = rows[rows[:, 0].argsort()].unbind(dim=1)
        return true, predicted

    @property
    def hardest(self) -> list[HardImage]:
        """Images of highest loss first."""
        return sorted(self._hard, key=lambda one: (-one.loss, one.index))[: self._most]

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Take in one batch of logits (B, K); targets of -1 are padding."""
        images, targets = batch[0], batch[1].cpu()
        if images.ndim == 5:  # several views of each, of which the first is the image itself
            images = images[:, 0]
        log_probs = outputs.detach().double().cpu().log_softmax(dim=1)  # (B, K)
        index = (self._seen + torch.arange(len(targets))) * trainer.world_size + trainer.global_rank
        self._seen += len(targets)
        real = (targets != PADDING).nonzero()[:, 0]
        predicted = log_probs.argmax(dim=1)
        self._labels.append(torch.stack((index, targets, predicted), dim=1)[real])
        losses = -log_probs[real, targets[real]]
        for place in real[losses.topk(min(self._most, len(real))).indices].tolist():
            true, guess = int(targets[place]), int(predicted[place])
            self._hard.append(
                HardImage(
                    index=int(index[place]),
                    image=before_normalising(images[place].detach().float().cpu(), self._mean, self._std),
                    true=true,
                    predicted=guess,
                    true_probability=log_probs[place, true].exp().item(),
                    predicted_probability=log_probs[place, guess].exp().item(),
                    loss=-log_probs[place, true].item(),
                )
            )
        self._hard = self.hardest

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring together what several processes found."""
        if trainer.world_size == 1:
            return
        parts: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, (self._labels, self._hard))
        self._labels = [labels for part in parts for labels in part[0]]
        self._hard = [hard for part in parts for hard in part[1]]


def before_normalising(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Images uint8 (..., C, H, W) of normalised float ones; mean and std are (C, 1, 1)."""
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
