"""The learning rate falls when the monitored metric no longer gets better (torch's ReduceLROnPlateau).

A schedule that watches a metric is a class: it is made with the keys of its constructor and `mode`, is shown the
metric of each validation by `observe`, offers `reduction`, the share of `optimizer.lr` from the next step on, and
keeps its state as plain values.
"""

import math
from typing import Annotated, Any, Literal

STATE = ("reduction", "best", "waited")


class Plateau:
    """Multiply the rate by `factor` when the metric has not improved for more than `patience` observations.

    Better means by more than the share `threshold` of the best (torch's threshold_mode `rel`). The reduction never
    goes below `min_fraction`.
    """

    def __init__(
        self,
        *,
        mode: Literal["max", "min"] = "max",
        factor: Annotated[float, "0 < x < 1"] = 0.1,
        patience: Annotated[int, "x >= 0"] = 5,
        threshold: Annotated[float, "x >= 0"] = 1e-4,
        min_fraction: Annotated[float, "0 <= x <= 1"] = 0.0,
    ) -> None:
        self.sign = 1.0 if mode == "max" else -1.0
        self.factor, self.patience, self.threshold, self.min_fraction = factor, patience, threshold, min_fraction
        self.reduction = 1.0
        self.best: float | None = None
        self.waited = 0

    def observe(self, value: float) -> None:
        """Take in the metric of one validation; NaN is no improvement."""
        best = -self.sign * math.inf if self.best is None else self.best
        if self.sign * value > self.sign * best * (1 + self.sign * self.threshold):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.reduction = max(self.reduction * self.factor, self.min_fraction)
            self.waited = 0

    def state_dict(self) -> dict[str, Any]:
        """What it has seen, as plain values."""
        return {key: getattr(self, key) for key in STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        for key in STATE:
            setattr(self, key, state.get(key, getattr(self, key)))
