"""From images to predictions: one net with its own preparation, an average over views, an ensemble of nets.

`evaluate.py` and `predict.py` both ask here, so what they say of an image is the same. Imports no lightning.

The views themselves are cut on the data's side; what arrives here has the size that the net reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.activations import activation as find_activation
from models.normalisation import Normalise
from settings.preprocessing import Preprocessing

if TYPE_CHECKING:
    from models.load import LoadedRun

MIXED = {"bf16-mixed": torch.bfloat16, "bf16": torch.bfloat16, "16-mixed": torch.float16, "16": torch.float16}
"""Precisions in which the weights stay float32 and the layers compute in fewer bits."""
WHOLE = {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64, "64": torch.float64}
"""Precisions of the weights themselves."""


class Predictor(nn.Module):
    """A trained net together with its normalisation: pixels in, probabilities out (or what its task predicts).

    Args:
        net: maps normalised images (B, C, S, S) to logits (B, K, ...).
        preprocessing: how its images are normalised.
        precision: as `trainer.precision` has it; what the net was tested with.
        channels_last: keep images in NHWC memory order.
        activation: what makes predictions of the outputs: a file of `models/activations/`.
        order: for each class of the output its place in the net's own order; None leaves it.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        preprocessing: Preprocessing,
        precision: str | int = "32-true",
        channels_last: bool = False,
        activation: str = "softmax",
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last) if channels_last else net
        self.channels_last = channels_last
        self.precision = str(precision)
        self.predictions = find_activation(activation).predictions
        if self.precision in WHOLE:
            self.net.to(WHOLE[self.precision])
        self.normalise = Normalise(preprocessing)
        self.order = None if order is None else list(order)
        self.eval()

    @classmethod
    def of(cls, run: LoadedRun, *, activation: str = "softmax", class_names: Sequence[str] | None = None) -> Predictor:
        """Take a run's net as it was tested; with `class_names`, its outputs in their order."""
        trainer: Mapping = run.checkpoint.get("config", {}).get("trainer", {})
        order = None
        if class_names is not None and not run.checkpoint.get("head"):  # outputs that are no classes have no order
            order = [run.class_names.index(name) for name in class_names]
        return cls(
            net=run.net,
            preprocessing=run.preprocessing,
            precision=trainer.get("precision", "32-true"),
            channels_last=bool(trainer.get("channels_last")),
            activation=activation,
            order=order if order != list(range(len(run.class_names))) else None,
        )

    def logits(self, images: Tensor) -> Tensor:
        """Outputs (B, K, ...) of images (B, C, S, S): uint8, or float in [0, 1], through which gradients flow."""
        normalised = self.normalise(images if images.dtype == torch.uint8 else images.float() * 255)
        if self.channels_last:
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        if self.precision in WHOLE:
            normalised = normalised.to(WHOLE[self.precision])
        with self._computing(images.device.type):
            logits = self.net(normalised)
        return logits.float() if self.order is None else logits.float()[:, self.order]

    def forward(self, views: Tensor) -> Tensor:
        """Predictions (B, K, ...), the mean over the views (B, V, C, S, S), or of one view (B, C, S, S).

        In double precision, where the device has it.
        """
        if views.ndim == 4:
            views = views[:, None]
        dtype = torch.float32 if views.device.type == "mps" else torch.float64  # Apple's GPUs have no double
        found = [self.predictions(self.logits(view).to(dtype)) for view in views.unbind(dim=1)]
        return torch.stack(found).mean(dim=0) if len(found) > 1 else found[0]

    def _computing(self, device: str) -> AbstractContextManager:
        return torch.autocast(device, dtype=MIXED[self.precision]) if self.precision in MIXED else nullcontext()


def average(probs: Sequence[Tensor]) -> Tensor:
    """The mean of several members' probabilities (B, K); of one member they are its own."""
    return torch.stack(list(probs)).mean(dim=0) if len(probs) > 1 else probs[0]
