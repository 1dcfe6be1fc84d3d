"""Classification by capsules: the net also draws the image again from the capsule of its class."""

from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import one_hot

from models.tasks.base import Batch
from models.tasks.classification import Classification

RECONSTRUCTION_WEIGHT = 0.0005


class Capsules(Classification):
    """Train a net of capsules on its classes and, beside them, on drawing its images.

    Sabour, Frosst, Hinton 2017 (arxiv.org/abs/1710.09829), section 4.1: the sum of squared differences of all pixels,
    times 0.0005, so that it does not outweigh the classes. `train/loss` is that of the classes.
    """

    defaults: ClassVar[dict[str, str]] = {"model": "capsnet_decoder", "loss": "capsule_margin"}
    trains: ClassVar[tuple[str, ...]] = ("decoder",)

    def outputs(self, batch: Batch) -> Any:
        """Lengths (B, K); in training with the capsules (B, K, D) themselves."""
        if not self.training:
            return super().outputs(batch)
        seen: list[Tensor] = []
        handle = self.net.head.register_forward_hook(lambda *given: seen.append(given[2]))  # type: ignore[union-attr]
        try:
            return super().outputs(batch), seen[-1]
        finally:
            handle.remove()

    def extra_loss(self, outputs: Any, batch: Batch) -> Tensor:
        """What the drawn images lack, mean over the batch."""
        lengths, capsules = outputs
        images, targets = batch
        shares = one_hot(targets, lengths.shape[1]) if targets.ndim == 1 else targets
        drawn = self.net.drawn(capsules, shares.to(capsules.dtype))  # type: ignore[operator]
        return RECONSTRUCTION_WEIGHT * (drawn.float() - images).square().flatten(1).sum(dim=1).mean()
