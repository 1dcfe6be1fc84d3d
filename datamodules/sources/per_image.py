"""What a loader's workers do: decode, augment and fit one image after another, each draw keyed by its image."""

import warnings
from collections.abc import Sequence

import torch

from configs.errors import UserError
from configs.preprocessing import Preprocessing
from datamodules.image import ImageOperation
from datamodules.loading import PADDING
from datamodules.randomness import generator
from datamodules.sources.files import FileSource
from datamodules.sources.pictures import MAX_PIXELS, NARROW, BrokenImage
from datamodules.sources.source import Source
from datamodules.transforms import fit_to

TRIES = 100  # of other images, in place of one that cannot be read


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
        """Return images uint8 ``(B, C, H, W)`` and targets int64 ``(B,)``.

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
        return torch.stack([image for image, _ in made]), torch.tensor([target for _, target in made])

    def _evaluated(self, index: int) -> tuple[torch.Tensor, int]:
        try:
            return self._fitted(self._picture(index)), int(self.source.targets[index])
        except BrokenImage:
            assert self.fit is not None  # it is a file
            size = self.fit.image_size
            return torch.zeros(self.fit.channels, size, size, dtype=torch.uint8), PADDING

    def _trained_on(self, index: int, epoch: int) -> tuple[torch.Tensor, int]:
        taken = index
        draws = None
        for _ in range(TRIES):
            try:
                return self._augmented(taken, epoch), int(self.source.targets[taken])
            except BrokenImage as broken:
                last = broken
                draws = draws or generator(self.seed, "in place of", epoch, self.source.keys[index])
                taken = int(torch.randint(len(self.source), (), generator=draws))
        raise BrokenImage(f"none of {TRIES} images drawn one after the other can be read; the last: {last}")

    def _augmented(self, index: int, epoch: int) -> torch.Tensor:
        image = self._picture(index)
        if not self.operations:
            return self._fitted(image)
        if not any(operation.cuts_from_whole for operation in self.operations):
            image = self._fitted(image)
        # An array's own side; all its images share it.
        size = self.fit.image_size if self.fit else image.shape[-1]
        draws = generator(self.seed, "image", epoch, self.source.keys[index])
        for operation in self.operations:
            image = operation(image, size=size, generator=draws)
        if tuple(image.shape[-2:]) != (size, size):
            raise UserError(
                f"augment: its lines turn {size} x {size} pixels into {image.shape[-2]} x {image.shape[-1]}; "
                f"give the line that does a size of [{size}, {size}]"
            )
        return image

    def _picture(self, index: int) -> torch.Tensor:
        image = self.source.image(index, self.fit.channels if self.fit else 0)
        if self.fit is not None and isinstance(self.source, FileSource):
            short, long = sorted(image.shape[-2:])
            if self.fit.resize**2 * long / short > MAX_PIXELS:  # before its middle is cut out
                raise self.source.broken(index, NARROW)
        return image

    def _fitted(self, image: torch.Tensor) -> torch.Tensor:
        return image if self.fit is None else fit_to(image[None], self.fit)[0]
