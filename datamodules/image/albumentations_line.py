"""Lines of a recipe that are named by albumentations' classes: `augment.GaussianBlur.p=0.3`.

albumentations 2.0.8 draws from a generator of its own, made at construction: with two loader workers both draw the
same, in every epoch again. So each call is seeded by its image's key. Misspelt arguments, of which albumentations only
warns, are errors.
"""

import inspect
import os
from collections.abc import Mapping
from typing import Any

import torch

from settings.errors import UserError, nearest, unknown

# Else importing it asks a server for a newer version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


class AlbumentationsLine:
    """One operation of albumentations.

    Args:
        name: its class.
        arguments: of its constructor.
    """

    cuts_from_whole = False

    def __init__(self, name: str, arguments: Mapping[str, Any]) -> None:
        import albumentations  # a second to import

        kind = getattr(albumentations, name, None)
        if not (inspect.isclass(kind) and issubclass(kind, albumentations.BasicTransform)):
            names = [one for one in dir(albumentations) if inspect.isclass(getattr(albumentations, one))]
            raise UserError(unknown("albumentations operation", name, names))
        known = inspect.signature(kind.__init__).parameters
        for argument in arguments:
            if argument not in known or argument == "self":
                hint = ", ".join(nearest(argument, known) or [one for one in known if one != "self"])
                raise UserError(f"unknown key augment.{name}.{argument}; nearest: {hint}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
        try:
            self._operation = albumentations.Compose([kind(**values)])
        except (TypeError, ValueError) as error:
            raise UserError(f"augment.{name}: {' '.join(str(error).split())[:200]}") from error

    def __call__(
        self, image: torch.Tensor, *, size: int, generator: torch.Generator, interpolation: str = "bilinear"
    ) -> torch.Tensor:
        """Return a new image ``(C, H, W)``; a function of the image and the generator's state."""
        self._operation.set_random_seed(int(torch.randint(2**32, (1,), generator=generator)))
        pixels = image.permute(1, 2, 0).contiguous().numpy()  # (H, W, C)
        changed = torch.from_numpy(self._operation(image=pixels)["image"])
        if changed.dtype != torch.uint8 or changed.ndim != 3 or changed.shape[-1] != len(image):
            raise UserError(
                f"augment: {self._operation.transforms[0]} does not give 8-bit images of {len(image)} channels"
            )
        return changed.permute(2, 0, 1).contiguous()
