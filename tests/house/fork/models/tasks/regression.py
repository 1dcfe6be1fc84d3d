"""The label as a number: what a net says of a digit may be 3.7."""

from typing import Any, ClassVar

from torch import Tensor

from models.tasks.base import Batch, Task


class Regression(Task):
    """Train the first output of a net to be the label, in quadratic error."""

    targets: ClassVar[str] = "labels"
    predicts: ClassVar[str] = "number"
    activation: ClassVar[str] = "identity"
    metrics: ClassVar[dict[str, str]] = {"mean_absolute_error": "min", "loss": "min"}

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The mean square; targets int64 (B,)."""
        return (outputs[:, 0] - batch[1]).square().mean()

    def counted(self, outputs: Tensor, batch: Batch) -> dict[str, Any]:
        """Images and the sums of both errors."""
        real = batch[1] != self.padding
        errors = (outputs[real, 0] - batch[1][real]).double()
        return {"loss": errors.square().sum(), "mean_absolute_error": errors.abs().sum(), "count": real.sum()}

    def image_losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The error of each image, (B,)."""
        return (outputs[:, 0] - batch[1]).abs()

    def describe(self, outputs: Tensor, batch: Batch, index: int) -> tuple[str, str]:
        """The digit, and what the net takes it for."""
        return str(int(batch[1][index])), f"{float(outputs[index, 0]):.1f}"
