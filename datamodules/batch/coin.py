"""What every operation needs: the coin that it tosses for each image, and the ranges of its arguments."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from settings.ranges import broken


def toss(n: int, p: float, generator: torch.Generator) -> torch.Tensor:
    """Return bool ``(n,)``, each true with probability ``p``: never for 0, always for 1."""
    return torch.rand(n, generator=generator) < p  # rand is in [0, 1)


def check_ranges(operation: type, arguments: Mapping[str, Any]) -> None:
    """Hold arguments against the ranges in the constructor's annotations, such as ``Annotated[float, "0 <= x < 1"]``.

    The configuration reads the same ranges from the source, before anything is built.

    Raises:
        ValueError: an argument leaves its range; says the range and the value.
    """
    for name, parameter in inspect.signature(operation, eval_str=True).parameters.items():
        for note in getattr(parameter.annotation, "__metadata__", ()) if name in arguments else ():
            if isinstance(note, str) and (wanted := broken(note, arguments[name])):
                raise ValueError(f"{name} must be {wanted}; got {arguments[name]}")
