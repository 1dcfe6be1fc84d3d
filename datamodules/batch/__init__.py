"""Augmentation of whole batches on the device: one operation a file, a pure function and a class that draws.

Recipes are ordered mappings ``operation -> arguments``; this table says where an operation lives. Nothing
heavy is imported here, so that the names can be checked without torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from configs.errors import UserError, unknown

if TYPE_CHECKING:
    import torch

# name in a recipe -> "file:Class" in this folder
OPERATIONS: dict[str, str] = {
    "random_crop": "random_crop:RandomCrop",
    "horizontal_flip": "flip:HorizontalFlip",
    "vertical_flip": "flip:VerticalFlip",
}


class Operation(Protocol):
    """Change uint8 images ``(B, C, H, W)``, and masks int64 ``(B, H, W)`` alike; draws on the CPU."""

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return new images, targets and masks; the inputs stay as they are."""


def build_recipe(mapping: Mapping[str, Mapping[str, Any] | None]) -> list[Operation]:
    """Make the operations of a recipe, in its order; an operation whose arguments are None is left out.

    Raises:
        UserError: an operation that does not exist, or arguments that it does not take.
    """
    operations = []
    for name, arguments in mapping.items():
        if name not in OPERATIONS:
            raise UserError(unknown("augment operation", name, OPERATIONS))
        if arguments is None:
            continue
        file, class_name = OPERATIONS[name].split(":")
        operation = getattr(importlib.import_module(f"datamodules.batch.{file}"), class_name)
        try:
            operations.append(operation(**arguments))
        except (TypeError, ValueError) as error:
            raise UserError(f"augment.{name}: {error}") from error
    return operations
