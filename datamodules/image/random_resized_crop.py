"""Cut out a part of random size and shape, and resize it (Szegedy et al. 2014, section 6): the usual for photos."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Annotated

import torch
from torch.nn.functional import interpolate

from datamodules.image import Part

ATTEMPTS = 10  # then the largest central part with an allowed shape, as torchvision does


class RandomResizedCrop:
    """Take a random part of the whole picture in place of its centre, with probability ``p``.

    Args:
        scale: smallest and largest share of the picture's area.
        ratio: narrowest and widest shape, width / height.
        p: else the centre square is taken.
    """

    cuts_from_whole = True
    neutral = {"scale": [1, 1], "ratio": [1, 1]}

    def __init__(
        self,
        *,
        scale: Annotated[Sequence[Annotated[float, "0 < x <= 1"]], "len(x) == 2"] = (0.08, 1.0),
        ratio: Annotated[Sequence[Annotated[float, "x > 0"]], "len(x) == 2"] = (0.75, 1.3333333333333333),
        p: Annotated[float, "0 <= x <= 1"] = 1.0,
    ) -> None:
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale is two shares of the area, the smaller first, in (0, 1]; got {list(scale)}")
        if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"ratio is two positive numbers, the smaller first; got {list(ratio)}")
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self.p = p

    def draw(self, height: int, width: int, generator: torch.Generator) -> Part:
        """Return (top, left, height, width) of the part, drawn as torchvision's `RandomResizedCrop` draws it."""
        logs = [math.log(one) for one in self.ratio]
        for _ in range(ATTEMPTS):
            area = height * width * _uniform(self.scale, generator)
            shape = math.exp(_uniform(logs, generator))
            part = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
            if 0 < part[0] <= height and 0 < part[1] <= width:
                top = int(torch.randint(0, height - part[0] + 1, (1,), generator=generator))
                left = int(torch.randint(0, width - part[1] + 1, (1,), generator=generator))
                return top, left, *part
        shape = min(max(width / height, self.ratio[0]), self.ratio[1])
        part = min(height, round(width / shape)), min(width, round(height * shape))
        return (height - part[0]) // 2, (width - part[1]) // 2, *part

    def part(self, height: int, width: int, generator: torch.Generator) -> Part:
        """Draw (top, left, height, width) of what is taken of a picture: a random part, or its centre square."""
        drawn = self.draw(height, width, generator)
        if torch.rand(1, generator=generator).item() < self.p:
            return drawn
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side

    def cut(self, image: torch.Tensor, part: Part, size: int, interpolation: str = "bilinear") -> torch.Tensor:
        """Return a part of ``(C, H, W)`` as ``(C, size, size)``, antialiased."""
        top, left, height, width = part
        return resized(image[:, top : top + height, left : left + width], size, interpolation)

    def __call__(
        self, image: torch.Tensor, *, size: int, generator: torch.Generator, interpolation: str = "bilinear"
    ) -> torch.Tensor:
        """Return a part of ``(C, H, W)`` as ``(C, size, size)``."""
        height, width = image.shape[-2:]
        return self.cut(image, self.part(height, width, generator), size, interpolation)


def resized(image: torch.Tensor, size: int, interpolation: str) -> torch.Tensor:
    """Resize uint8 ``(C, H, W)`` to ``(C, size, size)``, antialiased, to torchvision's bits.

    A part of a decoded picture, whose colours stand beside each other, takes 0.8 of torchvision's time: torch's code
    for that order wants its rows to follow each other, too, or goes a longer way.
    """
    as_decoded = image.shape[0] == 3 and image.stride(0) == 1 and image.device.type == "cpu"
    if not as_decoded or interpolation == "nearest" or not resizes_bytes():
        from torchvision.transforms.v2 import InterpolationMode  # a second to import
        from torchvision.transforms.v2 import functional as v2

        how = InterpolationMode(interpolation)
        return v2.resize_image(image, [size, size], interpolation=how, antialias=True)
    import cv2

    pixels = image.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)  # (1, C, H, W), channels last by its strides
    found = interpolate(pixels, size=(size, size), mode=interpolation, align_corners=False, antialias=True)
    planes = torch.empty(3, size, size, dtype=torch.uint8)
    cv2.split(found[0].permute(1, 2, 0).numpy(), list(planes.numpy()))
    return planes


@cache
def resizes_bytes() -> bool:
    """Whether torch resizes bytes as they are on this processor, as torchvision asks before it calls it."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def _uniform(ends: Sequence[float], generator: torch.Generator) -> float:
    return torch.empty(1).uniform_(ends[0], ends[1], generator=generator).item()
