"""Multi-label classification: any number of labels an image, also none; one sigmoid a label."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from models.analysis.class_scores import ClassCounts
from models.analysis.thresholds import DEFAULT, best_thresholds
from models.tasks.base import Batch, Task


class Multilabel(Task):
    """Train and score a net that maps images (B, C, H, W) to logits (B, K), each label's decided by itself.

    Targets are float32 (B, K) of 0 and 1, or shares after mixing. A label is there where its probability is above its
    threshold: 0.5, or after `use_calibration` what was best on validation.
    """

    targets: ClassVar[str] = "multilabels"
    metrics: ClassVar[dict[str, str]] = {
        "mean_average_precision": "max",
        "f1_macro": "max",
        "f1_micro": "max",
        "exact_match": "max",
        "loss": "min",
    }
    defaults: ClassVar[dict[str, str]] = {"loss": "binary_cross_entropy"}
    library: ClassVar[str] = "Multilabel"
    predicts: ClassVar[str] = "labels"
    activation: ClassVar[str] = "sigmoid"
    views: ClassVar[tuple[str, ...]] = ("centre", "flip", "flip_shift")
    calibrates: ClassVar[bool] = True
    from_library: ClassVar[dict[str, str]] = {"mean_average_precision": "average_precision"}

    def counted(self, outputs: Any, batch: Batch) -> dict[str, Tensor | int]:
        """Images; in evaluation the loss, exact matches, and hits, predictions and images of each label (K,)."""
        targets = batch[1]
        if self.training:
            return {"count": len(targets)}
        real = self.real(targets)
        logits, targets = outputs[real].float(), targets[real]
        losses = binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)
        predicted, true = self.decided(logits), targets > 0.5
        return {
            "loss": losses.to(self._precise).sum(),
            "count": real.sum(),
            "exact_match": (predicted == true).all(dim=1).sum(),
            "hits": (predicted & true).sum(dim=0),
            "predicted": predicted.sum(dim=0),
            "support": true.sum(dim=0),
        }

    def measured(self, sums: Mapping[str, Tensor], split: str) -> dict[str, float]:
        """F1 over the labels that occur and over all decisions, images whose labels are all right, mean loss."""
        loss = float(sums["loss"] / sums["count"])
        if split == "train":
            return {"loss": loss}
        labels = self._counts = ClassCounts(hits=sums["hits"], claimed=sums["predicted"], support=sums["support"])
        occurring = labels.occurring.f1
        return {
            "f1_macro": occurring.mean().item() if len(occurring) else 0.0,
            "f1_micro": labels.f1_micro.item(),
            "exact_match": float(sums["exact_match"] / sums["count"]),
            "loss": loss,
        }

    thresholds: Sequence[float] | None = None
    """One a label; None is 0.5 for all."""

    def decided(self, outputs: Tensor) -> Tensor:
        """Which labels are there by the net, bool (B, K)."""
        probs = self.probabilities(outputs.to(self._precise))
        if self.thresholds is None:
            return probs > DEFAULT
        return probs > torch.tensor(self.thresholds, dtype=self._precise, device=probs.device)

    def calibration(self, probs: Tensor, targets: Tensor) -> dict[str, Any]:
        """The threshold of each label that gives the best F1 on validation."""
        return {"thresholds": best_thresholds(probs, targets)}

    def use_calibration(self, found: Mapping[str, Any]) -> None:
        """Decide by these thresholds."""
        self.thresholds = list(found["thresholds"])

    def label_counts(self) -> ClassCounts:
        """Counts of images of each label."""
        return self._counts

    @staticmethod
    def truth(targets: Tensor, classes: int) -> Tensor:
        """The labels themselves, (B, K)."""
        return targets.clamp_min(0)

    def image_losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean binary cross entropy over the labels, (B,)."""
        return binary_cross_entropy_with_logits(outputs.float(), batch[1].clamp_min(0), reduction="none").mean(dim=1)

    def describe(self, outputs: Tensor, batch: Batch, index: int) -> tuple[str, str]:
        """The labels of the image, and those that the net gives it with their probabilities."""
        probs, decided = self._one(outputs, index)
        true = [name for name, there in zip(self.class_names, batch[1][index].tolist(), strict=True) if there > 0.5]
        rows = zip(self.class_names, probs, decided, strict=True)
        said = [f"{name} {prob:.0%}" for name, prob, there in rows if there]
        return ", ".join(true) or "none", ", ".join(said) or "none"

    def row(self, outputs: Tensor, batch: Batch, index: int) -> dict[str, Any]:
        """True and predicted labels, and each label's probability."""
        probs, decided = self._one(outputs, index)
        names = self.class_names
        return {
            "true": "|".join(name for name, there in zip(names, batch[1][index].tolist(), strict=True) if there > 0.5),
            "labels": "|".join(name for name, there in zip(names, decided, strict=True) if there),
            **{name: f"{prob:.9g}" for name, prob in zip(names, probs, strict=True)},
        }

    def _one(self, outputs: Tensor, index: int) -> tuple[list[float], list[bool]]:
        """Probabilities of one image, and which labels are there by them."""
        outputs = outputs[index : index + 1]
        return self.probabilities(outputs.to(self._precise))[0].tolist(), self.decided(outputs)[0].tolist()
