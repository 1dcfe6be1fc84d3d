"""A set of labels an image: those that are there, and the probability of each."""

from collections.abc import Callable, Sequence
from typing import Any

from reports.predictions import Prediction


def values(one: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """The labels that are there, and each label's probability."""
    assert one.probabilities is not None
    found = dict(zip(class_names, one.probabilities.tolist(), strict=True))
    return {"labels": list(one.labels), "probabilities": found}


def empty(class_names: Sequence[str]) -> dict[str, Any]:
    """The same columns without a prediction."""
    return {"labels": None, "probabilities": dict.fromkeys(class_names)}


def shown(class_names: Sequence[str]) -> tuple[list[str], Callable[[Prediction], list[str]]]:
    """The labels that are there with their probabilities."""

    def cells(one: Prediction) -> list[str]:
        found = values(one, class_names)
        return [", ".join(f"{name} {found['probabilities'][name]:.4f}" for name in found["labels"]) or "no label"]

    return [], cells
