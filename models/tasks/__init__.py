"""LightningModules, one a task. A data set names its task; this table says where that task lives."""

from typing import Any

TASKS = {
    "classification": "classification:Classification",
}
"""Task name -> `file:Class` in this folder."""


def task_class(name: str) -> Any:
    """Import and return the LightningModule class of one task; a task that is not in `TASKS` is a bug of ours."""
    from importlib import import_module

    file, _, cls = TASKS[name].partition(":")
    return getattr(import_module(f"{__name__}.{file}"), cls)
