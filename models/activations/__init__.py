"""What makes predictions of a net's outputs, and the way back: `sigmoid.py` is found by its file's name.

A task names one by its literal `activation`. A file here imports torch alone, so that a prediction needs no lightning,
and holds two functions: `predictions(outputs)`, such as probabilities (B, K, ...), and `outputs(predictions)`, which
gives outputs of which these predictions are made: of an average over views or nets, which tasks score as any outputs.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from settings.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import Tensor


class Activation(Protocol):
    """A file of this folder."""

    def predictions(self, outputs: "Tensor") -> "Tensor":
        """What is made of a net's outputs, of the same shape."""

    def outputs(self, predictions: "Tensor") -> "Tensor":
        """Outputs of which these predictions are made."""


def activation_files() -> list[str]:
    """Names, by listing this folder."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def activation(name: str) -> Activation:
    """Import and return the activation of that name.

    Raises:
        UserError: there is none.
    """
    if name not in activation_files():
        raise UserError(unknown("activation", name, activation_files()))
    return cast("Activation", import_module(f"models.activations.{name}"))
