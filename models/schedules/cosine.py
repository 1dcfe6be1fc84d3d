"""Half a cosine down to the end of the training (torch's CosineAnnealingLR)."""

import math
from typing import Annotated


def cosine(progress: float, *, final_fraction: Annotated[float, "0 <= x <= 1"] = 0.0) -> float:
    """Half a cosine from 1 at the first step to `final_fraction` at the end."""
    return final_fraction + (1.0 - final_fraction) / 2 * (1 + math.cos(math.pi * progress))
