"""Several nets as one: an ensemble whose outputs a task scores as those of any net."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.activations import activation
from models.normalisation import Renormalise


class Averaged(nn.Module):
    """The mean prediction of several nets, as outputs of which it is made.

    Args:
        nets: map images (B, C, H, W), normalised as the first one's, to outputs (B, K, ...).
        orders: for each net the place of every class of the first in its own outputs.
        inputs: for each net what turns images normalised for the first into its own.
        activation: what makes predictions of outputs: a file of `models/activations/`.
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        *,
        orders: Sequence[Sequence[int]],
        inputs: Sequence[Renormalise],
        activation: str,
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.inputs = nn.ModuleList(inputs)
        self.orders = [list(order) for order in orders]
        self.activation = activation

    def forward(self, images: Tensor) -> Tensor:
        """Outputs (B, K, ...), float32."""
        made = [net(own(images))[:, order] for net, own, order in zip(self.nets, self.inputs, self.orders, strict=True)]
        return averaged_outputs(made, self.activation)


def averaged_outputs(outputs: Sequence[Tensor], name: str) -> Tensor:
    """Outputs float32 of which the mean prediction of several outputs (B, K, ...) is made.

    In double precision, where the device has it.
    """
    found = activation(name)
    dtype = torch.float32 if outputs[0].device.type == "mps" else torch.float64
    mean = torch.stack([found.predictions(one.to(dtype)) for one in outputs]).mean(dim=0)
    return found.outputs(mean).float()
