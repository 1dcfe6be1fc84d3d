"""One class an image: the likeliest with its probability, and the probability of each."""

from collections.abc import Callable, Sequence
from typing import Any

from reports.predictions import Prediction, fitted, printable

TOP = 5
"""Classes a row shows on the screen."""
WIDEST_CLASS = 24  # cells of the screen


def values(one: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """The likeliest class, its probability, and all of them."""
    assert one.probabilities is not None
    found, best = one.probabilities.tolist(), int(one.probabilities.argmax())
    named = dict(zip(class_names, found, strict=True))
    return {"class": class_names[best], "probability": found[best], "probabilities": named}


def empty(class_names: Sequence[str]) -> dict[str, Any]:
    """The same columns without a prediction."""
    return {"class": None, "probability": None, "probabilities": dict.fromkeys(class_names)}


def shown(class_names: Sequence[str]) -> tuple[list[str], Callable[[Prediction], list[str]]]:
    """The likeliest classes, best first."""
    from rich.cells import cell_len

    count = min(TOP, len(class_names))
    width = min(WIDEST_CLASS, max(cell_len(printable(name)) for name in class_names))

    def cells(one: Prediction) -> list[str]:
        assert one.probabilities is not None
        found, classes = one.probabilities.topk(count)
        likeliest = zip(found.tolist(), classes.tolist(), strict=True)
        return [f"{fitted(class_names[k], width)} {value:6.4f}" for value, k in likeliest]

    return [fitted(f"{place}.", width + 7) for place in range(1, count + 1)], cells
