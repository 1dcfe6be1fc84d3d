"""Values of a configuration as reports compare and show them; standard library only."""

from collections.abc import Mapping
from typing import Any

INERT = (
    *("seed", "name", "experiment", "debug", "resume", "resume_allow", "traceback"),
    *("data.root", "data.num_workers", "data.persistent_workers", "data.worker_timeout"),
)
"""Keys that name a run or say where and how it is computed, not what: no row and no column is made of them."""
INERT_SECTIONS = (
    *("paths.", "logger.", "callbacks.progress", "callbacks.report", "callbacks.learning_rate", "callbacks.checkpoint"),
    *("trainer.log_every_n_steps", "trainer.enable_model_summary", "trainer.profiler"),
)


def flat(content: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys; an empty mapping has none."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{above}{key}."))
        else:
            found[f"{above}{key}"] = value
    return found


def canonical(value: Any) -> str:
    """A text that is the same for the same value, 0 and 0.0 among them."""
    if isinstance(value, list):
        return f"[{', '.join(map(canonical, value))}]"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return repr(value)
    try:
        return repr(float(value))
    except OverflowError:  # a whole number of hundreds of digits
        return repr(value)


def text(value: Any) -> str:
    """A value as it would be typed."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(text(one) for one in value)}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
