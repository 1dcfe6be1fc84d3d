"""Multi-label classification: any number of labels an image, also none; one sigmoid a label."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from models.tasks.base import Batch, Task


class Multilabel(Task):
    """Train and score a net that maps images (B, C, H, W) to logits (B, K), each label's decided by itself at 0.5.

    Targets are float32 (B, K) of 0 and 1, or shares after mixing.
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
    from_library: ClassVar[dict[str, str]] = {"mean_average_precision": "average_precision"}

    def counted(self, outputs: Any, batch: Batch) -> dict[str, Tensor | int]:
        """Images; in evaluation the loss, exact matches, and hits, predictions and images of each label (K,)."""
        targets = batch[1]
        if self.training:
            return {"count": len(targets)}
        real = self.real(targets)
        logits, targets = outputs[real].float(), targets[real]
        losses = binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)
        predicted, true = logits > 0, targets > 0.5
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
        hits, sizes = sums["hits"], sums["predicted"] + sums["support"]
        seen = sums["support"] > 0
        return {
            "f1_macro": (2 * hits[seen] / sizes[seen]).mean().item() if seen.any() else 0.0,
            "f1_micro": float(2 * hits.sum() / sizes.sum().clamp_min(1)),
            "exact_match": float(sums["exact_match"] / sums["count"]),
            "loss": loss,
        }

    @staticmethod
    def probabilities(outputs: Tensor) -> Tensor:
        """Each label's own, (B, K)."""
        return outputs.float().sigmoid()

    def image_losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean binary cross entropy over the labels, (B,)."""
        return binary_cross_entropy_with_logits(outputs.float(), batch[1].clamp_min(0), reduction="none").mean(dim=1)

    def describe(self, outputs: Tensor, batch: Batch, index: int) -> tuple[str, str]:
        """The labels of the image, and those that the net gives it with their probabilities."""
        probs = self.probabilities(outputs[index : index + 1])[0].tolist()
        true = [name for name, there in zip(self.class_names, batch[1][index].tolist(), strict=True) if there > 0.5]
        said = [f"{name} {prob:.0%}" for name, prob in zip(self.class_names, probs, strict=True) if prob > 0.5]
        return ", ".join(true) or "none", ", ".join(said) or "none"

    def row(self, outputs: Tensor, batch: Batch, index: int) -> dict[str, Any]:
        """True and predicted labels, and each label's probability."""
        probs = self.probabilities(outputs[index : index + 1])[0].tolist()
        names = self.class_names
        return {
            "true": "|".join(name for name, there in zip(names, batch[1][index].tolist(), strict=True) if there > 0.5),
            "labels": "|".join(name for name, prob in zip(names, probs, strict=True) if prob > 0.5),
            **{name: f"{prob:.9g}" for name, prob in zip(names, probs, strict=True)},
        }
