"""Augmentation of whole batches on the device: one operation a file, a pure function and a class that draws.

Recipes are ordered mappings ``operation -> arguments``; this table says where an operation lives. Nothing
heavy is imported here, so that the names can be checked without torch.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from settings.errors import UserError, unknown

if TYPE_CHECKING:
    import torch

# name in a recipe -> "file:Class" in this folder
OPERATIONS: dict[str, str] = {
    "random_crop": "random_crop:RandomCrop",
    "horizontal_flip": "flip:HorizontalFlip",
    "vertical_flip": "flip:VerticalFlip",
    "affine": "affine:Affine",
    "quarter_turn": "affine:QuarterTurn",
    "elastic": "elastic:Elastic",
    "color_jitter": "color_jitter:ColorJitter",
    "equalize": "equalize:Equalize",
    "gaussian_blur": "noise:GaussianBlur",
    "gaussian_noise": "noise:GaussianNoise",
    "randaugment": "randaugment:RandAugment",
    "trivial_augment": "trivial_augment:TrivialAugment",
    "auto_augment": "auto_augment:AutoAugment",
    "augmix": "augmix:AugMix",
    "cutout": "cutout:Cutout",
    "random_erasing": "random_erasing:RandomErasing",
    "hide_and_seek": "hiding:HideAndSeek",
    "grid_mask": "hiding:GridMask",
    "adversarial_erasing": "adversarial_erasing:AdversarialErasing",
    "mixup": "mixup:Mixup",
    "cutmix": "cutmix:CutMix",
    "mosaic": "mosaic:Mosaic",
}


class Operation(Protocol):
    """Change uint8 images ``(B, C, H, W)``, and masks int64 ``(B, H, W)`` alike; draws on the CPU.

    Class attributes that an operation may have:
        neutral: arguments at which it changes nothing, though it is drawn for every image; a test tries them.
        mixes: its targets become shares of the classes; see `mixing.py`.
        moves_masks: False where masks cannot follow it: it is refused for tasks that learn from masks.
        asks_net: it is given a way to ask the net that trains; see `adversarial_erasing.py`.
    """

    def __call__(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        generator: torch.Generator,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return new images, targets and masks; the inputs stay as they are."""


def build_recipe(
    mapping: Mapping[str, Mapping[str, Any] | None],
    *,
    num_classes: int,
    attention: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> list[Operation]:
    """Make the operations of a recipe, in its order; an operation whose arguments are None is left out.

    Those that mix images stand together, where the first of them stands: one coin decides between them.

    Args:
        mapping: operation -> arguments.
        num_classes: for operations that ask for it in their constructor.
        attention: likewise; from images and targets to what a net looks at.

    Raises:
        UserError: an operation that does not exist, or arguments that it does not take.
    """
    from datamodules.batch.coin import check_ranges

    operations: list[Any] = []
    mixing: list[Any] = []
    place = 0
    for name, arguments in mapping.items():
        if name not in OPERATIONS:
            raise UserError(unknown("augment operation", name, OPERATIONS))
        if arguments is None:
            continue
        file, class_name = OPERATIONS[name].split(":")
        operation = getattr(importlib.import_module(f"datamodules.batch.{file}"), class_name)
        ours = {"num_classes": num_classes, "attention": attention}
        asked = {key: ours[key] for key in inspect.signature(operation).parameters if key in ours}
        try:
            check_ranges(operation, arguments)
            made = operation(**arguments, **asked)
        except (TypeError, ValueError) as error:
            raise UserError(f"augment.{name}: {error}") from error
        if not getattr(made, "mixes", False):
            operations.append(made)
            continue
        mixing.append(made)
        if len(mixing) == 1:
            place = len(operations)
    if mixing:
        operations.insert(place, _one_coin(mixing))
    return operations


def _one_coin(mixing: list[Any]) -> Operation:
    from datamodules.batch.mixing import AtMostOne

    try:
        return AtMostOne(mixing)
    except ValueError as error:
        raise UserError(f"augment: {error}") from error
