"""One of K classes an image or pixel: shares that sum to 1 over dimension 1."""

import torch
from torch import Tensor


def predictions(outputs: Tensor) -> Tensor:
    """Probabilities (B, K, ...) of logits."""
    return outputs.softmax(dim=1)


def outputs(predictions: Tensor) -> Tensor:
    """Logits (B, K, ...) of probabilities: their logarithms."""
    return predictions.clamp_min(torch.finfo(predictions.dtype).tiny).log()
