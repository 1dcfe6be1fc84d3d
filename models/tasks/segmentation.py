"""Semantic segmentation: one class a pixel, softmax over K classes; pixels of 255 count nowhere."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.analysis.class_scores import ClassCounts
from models.analysis.mask_colours import overlay
from models.tasks.base import Batch, Task


class Segmentation(Task):
    """Train and score a net that maps images (B, C, H, W) to logits (B, K, H, W).

    All metrics come from one confusion matrix of the pixels of the whole set, so they do not depend on the batch size.
    """

    targets: ClassVar[str] = "masks"
    metrics: ClassVar[dict[str, str]] = {"miou": "max", "dice": "max", "pixel_accuracy": "max", "loss": "min"}
    in_training: ClassVar[tuple[str, ...]] = ("loss", "pixel_accuracy")
    output: ClassVar[str] = "dense"
    defaults: ClassVar[dict[str, str]] = {"model": "unet_small"}
    library: ClassVar[str] = "Multiclass"
    predicts: ClassVar[str] = "mask"
    views: ClassVar[tuple[str, ...]] = ("centre", "flip")
    padding: ClassVar[int] = 255
    counts_of: ClassVar[str] = "pixels"
    shown_as: ClassVar[str] = "the image, its true mask, the net's mask"

    def counted(self, outputs: Any, batch: Batch) -> dict[str, Tensor | int]:
        """Pixels and right ones; in evaluation their loss and confusion counts (K, K), true by predicted class."""
        targets, predicted = batch[1], outputs.argmax(dim=1)
        real = targets != self.padding
        if self.training:
            return {"correct": (predicted == targets).sum(), "count": real.sum()}
        losses = cross_entropy(outputs.float(), targets, reduction="none", ignore_index=self.padding)
        classes = outputs.shape[1]
        pairs = targets[real] * classes + predicted[real]
        return {
            "loss": losses.to(self._precise).sum(),
            "count": real.sum(),
            "confusion": pairs.bincount(minlength=classes * classes).view(classes, classes),
        }

    def measured(self, sums: Mapping[str, Tensor], split: str) -> dict[str, float]:
        """Mean IoU and Dice over the classes that occur in truth or prediction, share of right pixels, mean loss."""
        loss = float(sums["loss"] / sums["count"])
        if split == "train":
            return {"loss": loss, "pixel_accuracy": float(sums["correct"] / sums["count"])}
        counts = self._confusion = sums["confusion"]
        seen = ClassCounts.of(counts).seen
        return {
            "miou": seen.iou.mean().item(),
            "dice": seen.f1.mean().item(),
            "pixel_accuracy": float(counts.diagonal().sum() / sums["count"]),
            "loss": loss,
        }

    def confusion(self) -> Tensor:
        """Counts of pixels (K, K) of the last evaluation, true by predicted class."""
        return self._confusion.long()

    @staticmethod
    def truth(targets: Tensor, classes: int) -> Tensor:
        """Each class's share of the pixels, (B, K); the background counts where there is nothing else."""
        shares = torch.stack([(targets == label).flatten(1).float().mean(dim=1) for label in range(classes)], dim=1)
        shares[:, 0] *= shares[:, 1:].sum(dim=1) == 0
        return shares

    @staticmethod
    def answers(outputs: Tensor) -> Tensor:
        """The class of most pixels; the background where there is nothing else."""
        return Segmentation.truth(outputs.argmax(dim=1), outputs.shape[1]).argmax(dim=1)

    @staticmethod
    def speaks_for(outputs: Tensor, classes: Tensor) -> Tensor:
        """The mean logit of the class over the pixels that the net gives it, of all where it gives it none."""
        pixels = outputs.argmax(dim=1) == classes[:, None, None]
        pixels |= ~pixels.flatten(1).any(dim=1)[:, None, None]
        wanted = torch.zeros_like(outputs)
        rows = torch.arange(len(outputs), device=outputs.device)
        wanted[rows, classes] = pixels / pixels.flatten(1).sum(dim=1)[:, None, None].to(outputs.dtype)
        return wanted

    @classmethod
    def confidence(cls, outputs: Tensor, classes: Tensor) -> Tensor:
        """The mean probability of the class over those pixels."""
        return (cls.probabilities(outputs) * cls.speaks_for(outputs, classes)).flatten(1).sum(dim=1)

    def image_losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross entropy of each image's pixels, (B,)."""
        losses = cross_entropy(outputs.float(), batch[1], reduction="none", ignore_index=self.padding)
        return losses.flatten(1).sum(dim=1) / (batch[1] != self.padding).flatten(1).sum(dim=1).clamp_min(1)

    def describe(self, outputs: Tensor, batch: Batch, index: int) -> tuple[str, str]:
        """The classes that the mask holds, and the IoU over them and those that the net sees."""
        row = self.row(outputs, batch, index)
        return str(row["true"]).replace("|", ", "), f"mIoU {row['miou']:.2f}"

    def row(self, outputs: Tensor, batch: Batch, index: int) -> dict[str, Any]:
        """The classes in the true mask and in the net's, and the mean IoU over both."""
        mask, predicted = batch[1][index], outputs[index].argmax(dim=0)
        real = mask != self.padding
        mask, predicted = mask[real], predicted[real]
        scores = [
            float(((mask == label) & (predicted == label)).sum() / ((mask == label) | (predicted == label)).sum())
            for label in torch.cat((mask, predicted)).unique()
        ]
        true, said = ("|".join(self.class_names[label] for label in one.unique()) for one in (mask, predicted))
        return {"true": true, "predicted": said, "miou": sum(scores) / max(1, len(scores))}

    @staticmethod
    def labelled(images: Tensor, targets: Tensor) -> Tensor:
        """Images with their masks in colour, uint8 (B, 3, H, W)."""
        colour = images.expand(-1, 3, -1, -1).cpu()
        return torch.stack([overlay(image, mask) for image, mask in zip(colour, targets.cpu(), strict=True)])

    def draw(self, image: Tensor, outputs: Tensor, batch: Batch, index: int) -> Tensor:
        """The image, its true mask and the net's mask side by side: uint8 (3, H, 3 W)."""
        image = image.expand(3, -1, -1)
        masks = (batch[1][index].cpu(), outputs[index].argmax(dim=0).cpu())
        return torch.cat((image, *(overlay(image, mask) for mask in masks)), dim=2)
