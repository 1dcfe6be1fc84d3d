"""The learning rate falls by a factor every few epochs (torch's StepLR)."""

from typing import Annotated


def step(
    epoch: int, *, every_epochs: Annotated[int, "x >= 1"] = 10, gamma: Annotated[float, "0 < x <= 1"] = 0.1
) -> float:
    """`gamma` to the number of completed periods of `every_epochs` epochs."""
    return gamma ** (epoch // every_epochs)
