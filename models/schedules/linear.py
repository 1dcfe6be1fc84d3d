"""A straight line down to the end of the training (torch's LinearLR from 1)."""

from typing import Annotated


def linear(progress: float, *, final_fraction: Annotated[float, "0 <= x <= 1"] = 0.0) -> float:
    """A straight line from 1 at the first step to `final_fraction` at the end."""
    return 1.0 + (final_fraction - 1.0) * progress
