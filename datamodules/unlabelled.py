"""Images without labels, for prediction: read and fitted as evaluation does it, and a file that fails tells why."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from datamodules.loading import EvaluationBatches, batch_loader, workers_here
from datamodules.sources.named import NamedImages
from datamodules.sources.pictures import MAX_PIXELS, Refused, read_picture
from datamodules.transforms import fit_to, unfit_mask
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
        names: each as it was written, which a row of predictions is called.
        passed_over: what lies beside them and is not meant: reason -> names.
        reasons: what is known to be wrong with each already, None where it is to be read.
        preprocessing: size and channels to bring them to.
    """

    def __init__(
        self,
        *,
        paths: Sequence[str],
        reasons: Sequence[str | None],
        preprocessing: Preprocessing,
        names: Sequence[str] = (),
        passed_over: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.paths = paths
        self.names = names or paths
        self.reasons = reasons
        self.passed_over = passed_over or {}
        self.preprocessing = preprocessing

    @classmethod
    def of(cls, found: NamedImages, preprocessing: Preprocessing) -> "UnlabelledImages":
        """The files that a user names."""
        return cls(
            paths=found.paths,
            reasons=found.reasons,
            names=found.names,
            passed_over=found.passed_over,
            preprocessing=preprocessing,
        )

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

    def batches(self, *, batch_size: int, num_workers: int | None) -> Iterator[PictureBatch]:
        """Yield all files in their order.

        Args:
            batch_size: files at once.
            num_workers: processes that read them; 0: this one, None: as many as this machine has cores for.
        """
        batches = EvaluationBatches(size=len(self), local_batch_size=batch_size, rank=0, world=1)
        workers = min(workers_here() if num_workers is None else num_workers, len(batches))
        workers = workers if len(batches) > 1 else 0  # a process costs more than it reads in one batch
        yield from batch_loader(self, batches, workers=workers)

    def unfit(self, mask: torch.Tensor, height: int, width: int, *, outside: int) -> torch.Tensor:
        """Lay a mask of the net's pixels back over its picture, see `unfit_mask`."""
        return unfit_mask(mask, height, width, self.preprocessing, outside=outside)

    def spread(self, most: int, *, originals: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Read up to so many files, evenly spread; those that fail are left out.

        Returns:
            uint8 ``(R, channels, image_size, image_size)``, and if asked for the same at their own sizes.
        """
        chosen = torch.linspace(0, len(self) - 1, min(len(self), most)).round().long()
        fitted, reasons, _ = self[chosen]
        read = [self.paths[k] for k, reason in zip(chosen.tolist(), reasons, strict=True) if reason is None]
        return fitted, [read_picture(Path(path), self.preprocessing.channels) for path in read if originals]

    def _read(self, path: Path) -> tuple[torch.Tensor, tuple[int, int]]:
        _refuse_what_is_no_file(path)
        image = read_picture(path, self.preprocessing.channels)
        short, long = sorted(image.shape[-2:])
        if self.preprocessing.resize**2 * long / short > MAX_PIXELS:  # before the centre is cut out of it
            raise Refused(f"too narrow: {image.shape[-1]} x {image.shape[-2]} pixels")
        return fit_to(image[None], self.preprocessing)[0], (image.shape[-2], image.shape[-1])


def _refuse_what_is_no_file(path: Path) -> None:
    """Say so of folders, and of pipes and devices, which would be waited for."""
    try:
        known = path.is_file() or not path.exists()
    except (OSError, ValueError):  # a name that no file can have
        raise Refused("not there") from None
    if not known:
        raise Refused("a folder" if path.is_dir() else "not a file")
