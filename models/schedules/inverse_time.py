"""The learning rate falls as 1 / (1 + decay * t)."""

from typing import Annotated, Literal


def inverse_time(
    epoch: int, step: int, *, decay: Annotated[float, "x >= 0"] = 0.1, per: Literal["epoch", "step"] = "epoch"
) -> float:
    """1 / (1 + decay * t), with t in completed epochs or steps."""
    return 1 / (1 + decay * (epoch if per == "epoch" else step))
