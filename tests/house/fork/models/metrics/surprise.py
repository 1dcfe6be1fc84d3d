"""How surprising the truth is to the net."""

import torch
from torch import Tensor
from torchmetrics import Metric


class Surprise(Metric):
    """Mean over images of -log(probability of the true class), to any base; 0 is certainty."""

    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, *, base: float = 2.0, ignore_index: int = -1) -> None:
        super().__init__()
        self.base, self.ignore_index = base, ignore_index
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, probs: Tensor, targets: Tensor) -> None:
        """Take in a batch: probabilities (B, K), int64 targets (B,)."""
        kept = targets != self.ignore_index
        true = probs[kept].double().gather(1, targets[kept, None])
        self.total += -(true.log() / torch.tensor(self.base, dtype=torch.float64).log()).sum()
        self.count += kept.sum()

    def compute(self) -> Tensor:
        """The mean of all batches, a scalar."""
        return self.total / self.count
