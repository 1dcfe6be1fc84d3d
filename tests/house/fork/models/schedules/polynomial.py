"""A power of what is left of the training."""

from typing import Annotated


def polynomial(progress: float, *, power: Annotated[float, "x > 0"] = 1.0) -> float:
    """From 1 at the first step to 0 at the end."""
    return (1.0 - progress) ** power
