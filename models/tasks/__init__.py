"""LightningModules, one task a file: `multilabel.py` holds the class `Multilabel`. A task is found by its file's name.

Importing this package imports no torch.
"""

from pathlib import Path
from typing import Any

from settings.errors import UserError, unknown


def task_files() -> dict[str, str]:
    """Task name -> "models.tasks.file.Class", by listing this folder."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "base"))
    return {name: f"models.tasks.{name}.{name.title().replace('_', '')}" for name in found}


def task_class(name: str) -> Any:
    """Import and return the LightningModule class of a task.

    Raises:
        UserError: there is no such task.
    """
    from importlib import import_module

    if name not in task_files():
        raise UserError(unknown("task", name, task_files()))
    module, _, cls = task_files()[name].rpartition(".")
    return getattr(import_module(module), cls)
