"""Image classification: one label an image, softmax over K classes."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.analysis.class_scores import ClassCounts
from models.analysis.metrics import wilson_interval
from models.tasks.base import Batch, Task


class Classification(Task):
    """Train and score a net that maps images (B, C, H, W) to logits (B, K).

    A net may give (logits, auxiliary logits, ...) in training (Szegedy et al. 2015, arxiv.org/abs/1409.4842): their
    losses count `auxiliary_weight`, and `train/loss` is that of the main head.
    """

    targets: ClassVar[str] = "labels"
    metrics: ClassVar[dict[str, str]] = {"accuracy": "max", "accuracy_macro": "max", "f1_macro": "max", "loss": "min"}
    in_training: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    library: ClassVar[str] = "Multiclass"
    predicts: ClassVar[str] = "class"
    views: ClassVar[tuple[str, ...]] = ("centre", "flip", "flip_shift")

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Targets are class indices (B,) or, after mixing, shares (B, K)."""
        return self.criterion(_main(outputs), batch[1], class_weights=self.class_weights)

    def extra_loss(self, outputs: Any, batch: Batch) -> Tensor | None:
        """The weighted losses of auxiliary heads."""
        if not isinstance(outputs, tuple):
            return None
        losses = [self.criterion(other, batch[1], class_weights=self.class_weights) for other in outputs[1:]]
        return self.auxiliary_weight * torch.stack(losses).sum() if losses else None

    def counted(self, outputs: Any, batch: Batch) -> dict[str, Tensor | int]:
        """Images, right ones and the loss; in evaluation also hits, predictions and images of each class (K,)."""
        logits, targets = _main(outputs), batch[1]
        predicted = logits.argmax(dim=1)
        if self.training:
            labels = targets if targets.ndim == 1 else targets.argmax(dim=1)
            return {"correct": (predicted == labels).sum(), "count": labels.numel()}
        losses = cross_entropy(logits.float(), targets, reduction="none", ignore_index=self.padding)
        real = targets != self.padding  # padding counts nowhere: no loss, never right, no image
        right = predicted == targets
        classes = logits.shape[1]
        return {
            "loss": losses.to(self._precise).sum(),
            "correct": right.sum(),
            "count": real.sum(),
            "hits": targets[right].bincount(minlength=classes),
            "predicted": predicted[real].bincount(minlength=classes),
            "support": targets[real].bincount(minlength=classes),
        }

    def measured(self, sums: Mapping[str, Tensor], split: str) -> dict[str, float]:
        """Micro accuracy, macro accuracy (mean recall) and macro F1 over the classes that occur, mean loss."""
        loss, accuracy = (float(sums[name] / sums["count"]) for name in ("loss", "correct"))
        if split == "train":
            return {"loss": loss, "accuracy": accuracy}
        classes = ClassCounts(hits=sums["hits"], claimed=sums["predicted"], support=sums["support"]).occurring
        return {
            "accuracy": accuracy,
            "accuracy_macro": classes.recall.mean().item(),
            "f1_macro": classes.f1.mean().item(),
            "loss": loss,
        }

    def image_losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross entropy of each image, in double precision; 0 for padding."""
        return cross_entropy(outputs.double(), batch[1], reduction="none", ignore_index=self.padding)

    def describe(self, outputs: Tensor, batch: Batch, index: int) -> tuple[str, str]:
        """The true class with its probability, the predicted class with its own."""
        probs = outputs[index].double().softmax(dim=0).cpu()
        true, predicted = int(batch[1][index]), int(probs.argmax())
        return tuple(f"{self.class_names[label]} {probs[label]:.0%}" for label in (true, predicted))  # type: ignore[return-value]

    def decisions(self, outputs: Tensor, batch: Batch) -> Tensor:
        """True and predicted class of each image, int64 (B, 2)."""
        return torch.stack((batch[1], outputs.argmax(dim=1)), dim=1)

    interval_method = "Wilson"

    def interval(self, metrics: Mapping[str, float], images: int) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        low, high = wilson_interval(metrics["test/accuracy"], images)
        return low, high


def _main(outputs: Any) -> Tensor:
    """The logits of the main head."""
    return outputs[0] if isinstance(outputs, tuple) else outputs
