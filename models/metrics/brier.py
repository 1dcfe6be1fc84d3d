"""Brier score: how far the probabilities lie from the truth."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric

STEPS = 2**32
"""Distances are counted in steps of 1 / STEPS; 2^30 of the largest fit into 64 bits."""


class Brier(Metric):
    """Mean over images of the squared distance between probabilities and truth, 0 to 2 for one label an image.

    Brier 1950, doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2, in its form for several classes.

    Args:
        ignore_index: class index, of a pixel say, that counts nowhere.
    """

    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, *, ignore_index: int = -1) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, targets: Tensor) -> None:
        """Take in a batch: probabilities (B, K, ...), and class indices (B, ...) or 0 and 1 for each class (B, K)."""
        counted = targets != self.ignore_index
        truth = targets.where(counted, 0)
        if targets.ndim < probs.ndim:
            truth = one_hot(truth, probs.shape[1]).movedim(-1, 1)
            distances = (probs - truth).square().sum(dim=1) * counted
        else:
            distances = (probs - truth).square() * counted
            counted = counted.flatten(1).any(dim=1)
        # Whole numbers: their sum does not depend on the order, and so not on batches and processes.
        self.total += (distances * STEPS).round().long().sum()
        self.count += counted.sum()

    def compute(self) -> Tensor:
        """The score of all batches, a scalar."""
        return self.total / self.count / STEPS
