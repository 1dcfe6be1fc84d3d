"""Nets, losses, optimisation and tasks. Importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.load import load_run

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    """Import `load_run` when it is first asked for."""
    if name == "load_run":
        from models.load import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
