"""The learning rate falls by a factor every epoch (torch's ExponentialLR)."""

from typing import Annotated


def exponential(epoch: int, *, gamma: Annotated[float, "0 < x <= 1"] = 0.9) -> float:
    """`gamma` to the number of completed epochs."""
    return gamma**epoch
