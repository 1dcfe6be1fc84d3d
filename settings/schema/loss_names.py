"""Losses that a configuration may use, read from `models/losses/` without importing torch."""

from __future__ import annotations

from settings.schema import signatures

FILLED_IN = frozenset({"class_weights", "ignore_index"})
"""Parameters of a loss that the task fills in, where the signature has them."""


def known() -> list[str]:
    """All losses, by listing their folder."""
    return sorted(path.stem for path in (signatures.ROOT / "models/losses").glob("*.py") if path.stem != "__init__")


def target(name: str) -> str:
    """Where a loss stands: "models.losses.focal.focal"."""
    return f"models.losses.{name}.{name}"


def targets(name: str) -> tuple[str, ...]:
    """What a loss can learn from: `labels`, `multilabels`, `masks`.

    Raises:
        NotFoundInSource: there is no such file.
    """
    return tuple(signatures.module_value(f"models.losses.{name}", "TARGETS") or ())


def learning_from(kind: str) -> list[str]:
    """The losses that can learn from a kind of target."""
    return [name for name in known() if kind in targets(name)]


def takes(name: str, argument: str) -> bool:
    """Whether a loss has a parameter, such as `class_weights`."""
    return argument in (signatures.parameters(target(name)) or {})
