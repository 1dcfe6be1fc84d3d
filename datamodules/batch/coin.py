"""What every operation needs: the coin that it tosses for each image, and the ranges of its arguments."""

from collections.abc import Mapping

import torch

Ranges = Mapping[str, tuple[float, float]]
"""Argument -> (lowest, highest) value. A literal in a class, so that a configuration is checked without torch."""


def toss(n: int, p: float, generator: torch.Generator) -> torch.Tensor:
    """Return bool ``(n,)``, each true with probability ``p``: never for 0, always for 1."""
    return torch.rand(n, generator=generator) < p  # rand is in [0, 1)


def check_probability(p: float) -> float:
    """Return ``p``, or raise ValueError where it is no probability."""
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, from 0 to 1; got {p}")
    return p


def check_ranges(ranges: Ranges, **arguments: float) -> None:
    """Raise ValueError for an argument outside its range; says the range and the value."""
    for name, value in arguments.items():
        low, high = ranges[name]
        if not low <= value <= high:
            raise ValueError(f"{name} goes from {low:g} to {high:g}; got {value}")
