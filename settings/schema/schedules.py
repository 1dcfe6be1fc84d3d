"""Schedules by name: the files of models/schedules, each with a function of its own name or a class in CamelCase."""

from __future__ import annotations

from settings.errors import unknown as unknown_name
from settings.schema import signatures

FILLED_IN = frozenset({"mode"})
SHARED = ("warmup_epochs", "restart")
"""Keys of every schedule."""


def own() -> list[str]:
    """All schedules."""
    folder = signatures.ROOT / "models" / "schedules"
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def target(name: str) -> str | None:
    """Where the schedule of this name is defined; None if there is none."""
    if name not in own():
        return None
    module = f"models.schedules.{name}"
    function = f"{module}.{name}"
    return function if signatures.is_function(function) else f"{module}.{name.title().replace('_', '')}"


def arguments(name: str) -> list[str]:
    """Keys of the section `scheduler` beside its name, for a schedule that exists."""
    place = target(name)
    assert place is not None
    return [*SHARED, *signatures.names(place, ours=FILLED_IN)]


def follows_length(name: str) -> bool:
    """Whether its shape depends on the length of the training."""
    return bool({"progress", "total_steps"} & set(signatures.positional(f"models.schedules.{name}.{name}")))


def warms_up(name: str) -> bool:
    """Whether it rises by itself, so that `warmup_epochs` must be 0."""
    return bool(signatures.module_value(f"models.schedules.{name}", "WARMS_UP"))


def unknown(name: str) -> str:
    """Say that there is no such schedule, and which come near."""
    return unknown_name("scheduler", name, own())
