"""What a loader's workers do: decode, augment and fit one image after another, each draw keyed by its image."""

import warnings
from collections.abc import Sequence

import torch

from configs.errors import UserError
from configs.preprocessing import Preprocessing
from datamodules.image import ImageOperation
from datamodules.randomness import generator
from datamodules.sources.source import Source
from datamodules.transforms import fit_to


class PerImage:
    """Make a batch of single images.

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
            images = [
                self._fitted(self._picture(index)) if epoch is None else self._augmented(index, epoch)
                for index in indices.tolist()
            ]
        return torch.stack(images), self.source.targets[indices]

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
        return self.source.image(index, self.fit.channels if self.fit else 0)

    def _fitted(self, image: torch.Tensor) -> torch.Tensor:
        return image if self.fit is None else fit_to(image[None], self.fit)[0]
