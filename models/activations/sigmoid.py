"""Each of K labels by itself."""

import torch
from torch import Tensor


def predictions(outputs: Tensor) -> Tensor:
    """Probabilities (B, K, ...) of logits."""
    return outputs.sigmoid()


def outputs(predictions: Tensor) -> Tensor:
    """Logits (B, K, ...) of probabilities: the logarithms of their odds."""
    return predictions.logit(eps=torch.finfo(predictions.dtype).eps)
