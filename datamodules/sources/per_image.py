"""What a loader's workers do: decode, augment and fit one image after another, each draw keyed by its image."""

import warnings
from collections.abc import Sequence
from typing import cast

import torch

from datamodules.image import ImageOperation, Part, WholeCut
from datamodules.randomness import generator
from datamodules.sources.cache import Kept
from datamodules.sources.files import FileSource
from datamodules.sources.jpeg import shrink_for
from datamodules.sources.pictures import MAX_PIXELS, NARROW, BrokenImage, Shrink
from datamodules.sources.source import Source
from datamodules.targets import PADDING
from datamodules.transforms import fit_to
from settings.errors import UserError
from settings.preprocessing import Preprocessing

TRIES = 100  # of other images, in place of one that cannot be read


def changed(
    image: torch.Tensor,
    operations: Sequence[ImageOperation],
    *,
    size: int,
    interpolation: str,
    draws: torch.Generator,
) -> torch.Tensor:
    """Apply operations to an image ``(C, H, W)``, one after the other; the last gives ``(C, size, size)``.

    Raises:
        UserError: it does not.
    """
    for operation in operations:
        image = operation(image, size=size, generator=draws, interpolation=interpolation)
    if tuple(image.shape[-2:]) != (size, size):
        raise UserError(
            f"augment: its lines turn {size} x {size} pixels into {image.shape[-2]} x {image.shape[-1]}; "
            f"give the line that does a size of [{size}, {size}]"
        )
    return image


class PerImage:
    """Make a batch of single images; a file that cannot be read stops none of the others.

    In training another image takes its place, drawn by (seed, epoch, key of the file): so batches keep their size, and
    a run that goes on, or has other workers, takes the same. In evaluation it is black, with the target `PADDING`,
    which no score counts.

    Args:
        source: where they come from.
        fit: size and channels that files are brought to; None leaves arrays at their own size for the device step.
        operations: applied in order, in training only: to requests that carry their epoch.
        seed: of their draws, together with the epoch and the image's key.
    """

    def __init__(
        self, source: Source, *, fit: Preprocessing | None, operations: Sequence[ImageOperation] = (), seed: int = 0
    ) -> None:
        self.source = source
        self.fit = fit
        self.operations = tuple(operations)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, request: torch.Tensor | tuple[int, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images uint8 ``(B, C, H, W)`` and their targets.

        Args:
            request: int64 ``(B,)`` indices for evaluation, or (epoch, indices) for training.
        """
        epoch, indices = request if isinstance(request, tuple) else (None, request)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of files that it reads all the same
            made = [
                self._evaluated(index) if epoch is None else self._trained_on(index, epoch)
                for index in indices.tolist()
            ]
        return torch.stack([image for image, _ in made]), torch.stack([target for _, target in made])

    def _evaluated(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        try:
            return self._fitted(self._picture(index, kept=self._kept_to_fit())), self.source.targets[index]
        except BrokenImage:
            assert self.fit is not None  # it is a file
            size = self.fit.image_size
            black = torch.zeros(self.fit.channels, size, size, dtype=torch.uint8)
            return black, torch.full_like(self.source.targets[index], PADDING)

    def _trained_on(self, index: int, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        taken = index
        draws = None
        for _ in range(TRIES):
            try:
                return self._augmented(taken, epoch), self.source.targets[taken]
            except BrokenImage as broken:
                last = broken
                draws = draws or generator(self.seed, "in place of", epoch, self.source.keys[index])
                taken = int(torch.randint(len(self.source), (), generator=draws))
        raise BrokenImage(f"none of {TRIES} images drawn one after the other can be read; the last: {last}")

    def _augmented(self, index: int, epoch: int) -> torch.Tensor:
        draws = generator(self.seed, "image", epoch, self.source.keys[index])
        operations = self.operations
        if operations and operations[0].cuts_from_whole:
            image = self._part(index, cast(WholeCut, operations[0]), draws)
            operations = operations[1:]
        elif any(operation.cuts_from_whole for operation in operations):
            image = self._picture(index, kept=self._kept_to_crop())
        else:
            image = self._fitted(self._picture(index, self._shrink_to_fit, self._kept_to_fit(scaled=True)))
        # An array's own side; all its images share it.
        size = self.fit.image_size if self.fit else image.shape[-1]
        return changed(image, operations, size=size, interpolation=self._interpolation, draws=draws)

    def _part(self, index: int, operation: WholeCut, draws: torch.Generator) -> torch.Tensor:
        """Choose a part, decode as much as it needs, and cut it out; its place is rounded to the pixels that are."""
        size = self.fit.image_size if self.fit else 0
        chosen: Part | None = None
        whole = 0, 0

        def shrink(height: int, width: int) -> int:
            nonlocal chosen, whole
            chosen = operation.part(height, width, draws)
            whole = height, width
            return 1 if self._interpolation == "nearest" else shrink_for(min(chosen[2:]), size)

        image = self._picture(index, shrink, self._kept_to_crop())
        height, width = image.shape[-2:]
        if chosen is None:  # nobody asked: all pixels are there
            chosen = operation.part(height, width, draws)
        elif (height, width) != whole:
            chosen = _scaled(chosen, whole, (height, width))
        return operation.cut(image, chosen, size or width, self._interpolation)

    @property
    def _interpolation(self) -> str:
        """How parts are resized: as evaluation resizes files, so as the weights have it; parts of arrays bilinearly."""
        return self.fit.interpolation if self.fit else "bilinear"

    def _shrink_to_fit(self, height: int, width: int) -> int:
        assert self.fit is not None
        return 1 if self._interpolation == "nearest" else shrink_for(min(height, width), self.fit.resize)

    def _kept_to_fit(self, *, scaled: bool = False) -> Kept | None:
        """At the very size of evaluation, so that nothing is left to resize, and scores are those without a cache."""
        if self.fit is None:
            return None
        return Kept(self.fit.resize, self._interpolation, scaled and self._interpolation != "nearest")

    def _kept_to_crop(self) -> Kept | None:
        """With pixels to spare, as parts are cut out."""
        cache = self.source.cache if isinstance(self.source, FileSource) else None
        if cache is None or self.fit is None:
            return None
        return Kept(cache.crop_side(self.fit.resize), self._interpolation, self._interpolation != "nearest")

    def _picture(self, index: int, shrink: Shrink | None = None, kept: Kept | None = None) -> torch.Tensor:
        if self.fit is None or not isinstance(self.source, FileSource):
            return self.source.image(index, self.fit.channels if self.fit else 0)
        image = self.source.image(index, self.fit.channels, shrink, kept)
        short, long = sorted(image.shape[-2:])
        if self.fit.resize**2 * long / short > MAX_PIXELS:  # before its middle is cut out
            raise self.source.broken(index, NARROW)
        return image

    def _fitted(self, image: torch.Tensor) -> torch.Tensor:
        return image if self.fit is None else fit_to(image[None], self.fit)[0]


def _scaled(part: Part, whole: tuple[int, int], decoded: tuple[int, int]) -> Part:
    """The same part of a picture that was decoded smaller."""
    ends = []
    for axis in (0, 1):
        shrink = whole[axis] / decoded[axis]
        start, end = round(part[axis] / shrink), round((part[axis] + part[axis + 2]) / shrink)
        ends.append((start, max(end - start, 1)))
    (top, height), (left, width) = ends
    return top, left, height, width
