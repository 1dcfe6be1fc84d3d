"""Images without labels, for prediction: read and fitted as evaluation does it, and a file that fails tells why."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from datamodules.loading import EvaluationBatches, batch_loader
from datamodules.sources.pictures import MAX_PIXELS, Refused, read_picture
from datamodules.transforms import fit_to
from settings.preprocessing import Preprocessing


class PictureBatch(NamedTuple):
    """One stretch of a list of files.

    Attributes:
        images: uint8 ``(R, channels, image_size, image_size)`` of the R that could be read, in their order.
        reasons: one entry a file, None where its image is there, else why not.
        sizes: height and width in pixels of the R files.
    """

    images: torch.Tensor
    reasons: list[str | None]
    sizes: list[tuple[int, int]]


class UnlabelledImages:
    """Decode and fit files; none of them stops the others.

    Args:
        paths: the files.
        reasons: what is known to be wrong with each already, None where it is to be read.
        preprocessing: size and channels to bring them to.
    """

    def __init__(self, *, paths: Sequence[str], reasons: Sequence[str | None], preprocessing: Preprocessing) -> None:
        self.paths = paths
        self.reasons = reasons
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, indices: torch.Tensor) -> PictureBatch:
        """Read the files at ``indices``, int64 ``(B,)``."""
        images: list[torch.Tensor] = []
        reasons: list[str | None] = []
        sizes: list[tuple[int, int]] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of files that it reads all the same
            for index in indices.tolist():
                reason = self.reasons[index]
                if reason is None:
                    try:
                        image, size = self._read(Path(self.paths[index]))
                        images.append(image)
                        sizes.append(size)
                    except (Refused, MemoryError, RuntimeError) as error:  # RuntimeError: torch's lack of memory
                        reason = str(error) if isinstance(error, Refused) else "too large for this machine"
                reasons.append(reason)
        side = self.preprocessing.image_size
        none = torch.empty(0, self.preprocessing.channels, side, side, dtype=torch.uint8)
        return PictureBatch(torch.stack(images) if images else none, reasons, sizes)

    def _read(self, path: Path) -> tuple[torch.Tensor, tuple[int, int]]:
        _refuse_what_is_no_file(path)
        image = read_picture(path, self.preprocessing.channels)
        short, long = sorted(image.shape[-2:])
        if self.preprocessing.resize**2 * long / short > MAX_PIXELS:  # before the centre is cut out of it
            raise Refused(f"too narrow: {image.shape[-1]} x {image.shape[-2]} pixels")
        return fit_to(image[None], self.preprocessing)[0], (image.shape[-2], image.shape[-1])


def picture_batches(images: UnlabelledImages, *, batch_size: int, num_workers: int) -> Iterator[PictureBatch]:
    """Yield all files in their order, whatever the number of worker processes (0: this one reads)."""
    batches = EvaluationBatches(size=len(images), local_batch_size=batch_size, rank=0, world=1)
    yield from batch_loader(images, batches, workers=num_workers)


def _refuse_what_is_no_file(path: Path) -> None:
    """Say so of folders, and of pipes and devices, which would be waited for."""
    try:
        known = path.is_file() or not path.exists()
    except (OSError, ValueError):  # a name that no file can have
        raise Refused("not there") from None
    if not known:
        raise Refused("a folder" if path.is_dir() else "not a file")
