"""A finished run as what predicts: its net, and what its task makes of the outputs, read from the task's source."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.predictor import Predictor
from settings.errors import UserError, unknown
from settings.schema.names import task_value, tasks

if TYPE_CHECKING:
    from models.load import LoadedRun


def predictor_of(run: "LoadedRun", *, class_names: Sequence[str] | None = None) -> Predictor:
    """The run's predictor; with `class_names`, its outputs in their order.

    Raises:
        UserError: its task is not there.
    """
    task = run.checkpoint["task"]
    if task not in tasks():
        raise UserError(f"run: {unknown('task', task, tasks())}")
    return Predictor.of(run, activation=task_value(task, "activation"), class_names=class_names)
