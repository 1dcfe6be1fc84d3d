"""One cycle: the learning rate rises, then falls to almost nothing.

This is the better known form, torch's OneCycleLR with its defaults (cosine both ways) and momentum left alone:
start_fraction is 1 / div_factor, final_fraction is start_fraction / final_div_factor. Smith and Topin 2017,
arxiv.org/abs/1708.07120, have straight lines.
"""

import math
from typing import Annotated

WARMS_UP = True


def one_cycle(
    step: int,
    total_steps: int,
    *,
    peak_fraction: Annotated[float, "0 < x < 1"] = 0.3,
    start_fraction: Annotated[float, "0 < x <= 1"] = 0.04,
    final_fraction: Annotated[float, "0 <= x <= 1"] = 1e-4,
) -> float:
    """Half a cosine up from `start_fraction` to 1, then half a cosine down to `final_fraction`.

    The peak is reached after `peak_fraction` of all steps, the end in the last step.
    """
    last = total_steps - 1
    step = min(step, last)
    peak = peak_fraction * total_steps - 1
    if step == peak:
        return 1.0
    if step < peak:
        return _anneal(start_fraction, 1.0, step / peak)
    return _anneal(1.0, final_fraction, (step - peak) / (last - peak))


def _anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
