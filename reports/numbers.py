"""A number an image: what a regression predicts."""

from collections.abc import Callable, Sequence
from typing import Any

from reports.predictions import Prediction


def values(one: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """The number."""
    assert one.probabilities is not None
    return {"number": float(one.probabilities[0])}


def empty(class_names: Sequence[str]) -> dict[str, Any]:
    """The same column without a prediction."""
    return {"number": None}


def shown(class_names: Sequence[str]) -> tuple[list[str], Callable[[Prediction], list[str]]]:
    """The number."""
    return [], lambda one: [f"{values(one, class_names)['number']:.6g}"]
