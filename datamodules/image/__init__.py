"""Augmentation of single images in a loader's workers: what needs the whole picture, and other libraries' operations.

Everything else runs on whole batches on the device: see `datamodules/batch/`. Lines of both kinds stand in one
recipe; those of this folder run first. Nothing heavy is imported here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from settings.errors import UserError

if TYPE_CHECKING:
    import torch

# name in a recipe -> "file:Class" in this folder
OPERATIONS: dict[str, str] = {
    "random_resized_crop": "random_resized_crop:RandomResizedCrop",
}


Part = tuple[int, int, int, int]
"""(top, left, height, width) in pixels."""


class ImageOperation(Protocol):
    """Change one uint8 image ``(C, H, W)``; all draws come from the generator.

    Attributes:
        cuts_from_whole: it wants the whole picture, before it is resized, and gives a square of ``size``; it is a
            `WholeCut`.
    """

    cuts_from_whole: bool

    def __call__(
        self, image: torch.Tensor, *, size: int, generator: torch.Generator, interpolation: str = "bilinear"
    ) -> torch.Tensor:
        """Return a new image; one that resizes does it as evaluation does, by ``interpolation``."""


class WholeCut(ImageOperation, Protocol):
    """Take a part of a whole picture: chosen by its size alone, so that no more needs to be decoded than it wants."""

    def part(self, height: int, width: int, generator: torch.Generator) -> Part:
        """Draw what is taken."""

    def cut(self, image: torch.Tensor, part: Part, size: int, interpolation: str = "bilinear") -> torch.Tensor:
        """Return it as ``(C, size, size)``."""


def is_per_image(name: str) -> bool:
    """Whether a recipe's line is of this folder: ours by its name, albumentations' by its capital letter."""
    return name in OPERATIONS or name[:1].isupper()


def build_image_recipe(mapping: Mapping[str, Mapping[str, Any] | None]) -> list[ImageOperation]:
    """Make the per-image operations of a recipe, in its order; other lines, and lines of None, are passed over.

    Raises:
        UserError: an operation that does not exist, or arguments that it does not take.
    """
    from datamodules.batch.coin import check_ranges

    operations: list[ImageOperation] = []
    for name, arguments in mapping.items():
        if arguments is None or not is_per_image(name):
            continue
        file, class_name = OPERATIONS.get(name, "albumentations_line:AlbumentationsLine").split(":")
        operation = getattr(importlib.import_module(f"datamodules.image.{file}"), class_name)
        try:
            if name in OPERATIONS:
                check_ranges(operation, arguments)
            operations.append(operation(**arguments) if name in OPERATIONS else operation(name, arguments))
        except (TypeError, ValueError) as error:
            text = " ".join(str(error).split())
            raise UserError(text if isinstance(error, UserError) else f"augment.{name}: {text}") from error
    return operations
