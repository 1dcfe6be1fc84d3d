"""The coin that every operation tosses for each image."""

import torch


def toss(n: int, p: float, generator: torch.Generator) -> torch.Tensor:
    """Return bool ``(n,)``, each true with probability ``p``: never for 0, always for 1."""
    return torch.rand(n, generator=generator) < p  # rand is in [0, 1)


def check_probability(p: float) -> float:
    """Return ``p``, or raise ValueError where it is no probability."""
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, from 0 to 1; got {p}")
    return p
