"""Images that stay in their files until they are needed; the table of them is arrays."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from datamodules.sources.cache import Kept, PictureCache
from datamodules.sources.packed import PackedStrings
from datamodules.sources.pictures import REASONS, BrokenImage, Refused, Shrink, read_picture
from datamodules.targets import strata as strata_of
from settings.paths import nfc


class FileSource:
    """Files and their targets.

    Args:
        folder: what the keys are relative to.
        keys: one path a file; an absolute one stands for itself.
        targets: labels int64 ``(N,)``, or label sets float32 ``(N, K)``.
        sizes: int64 ``(N,)``, bytes of each file.
        scaled: files may be decoded smaller, where a caller says by how much.
        cache: where decoded pictures are kept.
        strata: see `Source`; None finds them in the targets.
    """

    def __init__(
        self,
        *,
        folder: Path,
        keys: PackedStrings,
        targets: torch.Tensor,
        sizes: np.ndarray,
        scaled: bool = True,
        cache: PictureCache | None = None,
        strata: torch.Tensor | None = None,
    ) -> None:
        if not len(keys) == len(targets) == len(sizes):
            raise ValueError(f"{len(keys)} keys, {len(targets)} targets, {len(sizes)} sizes")
        self.folder = folder
        self.keys = keys
        self.targets = targets
        self._strata = strata
        self.sizes = sizes
        self.scaled = scaled
        self.cache = cache
        # A byte a file: 0, or the number of the reason from 1. Shared, because workers write it and the run reads it;
        # a queue would fill up where nobody reads, and a worker that is killed could leave it locked.
        self._refused = torch.zeros(len(keys), dtype=torch.uint8).share_memory_()

    @property
    def strata(self) -> torch.Tensor:
        """One class an image, int64 ``(N,)``."""
        if self._strata is None:
            self._strata = strata_of(self.targets)
        return self._strata

    def __len__(self) -> int:
        return len(self.targets)

    def image(self, index: int, channels: int, shrink: Shrink | None = None, kept: Kept | None = None) -> torch.Tensor:
        """Decode one file to uint8 ``(channels, H, W)``, smaller where `shrink` says so; see `read_picture`.

        Where there is a cache, the picture comes from it as it is ``kept``; what `shrink` says is passed over.

        Raises:
            BrokenImage: it cannot be read (any more).
        """
        path = self.folder / self.keys[index]
        try:
            if self.cache is not None and kept is not None:
                entry = self.cache.picture(path, channels, kept._replace(scaled=kept.scaled and self.scaled))
                if shrink is not None:
                    shrink(*entry.whole)
                return entry.image
            return read_picture(path, channels, shrink if self.scaled else None)
        except Refused as refused:
            raise self.broken(index, str(refused)) from None

    def broken(self, index: int, reason: str) -> BrokenImage:
        """Note that a file cannot be used, in whichever process; returns what to raise."""
        self._refused[index] = 1 + (REASONS.index(reason) if reason in REASONS else 0)
        path = self.folder / self.keys[index]
        return BrokenImage(f"{path}: {reason}; data.check=full finds all such files and leaves them out")

    def refused_count(self) -> int:
        """Return how many files could not be used so far, in any worker of this process."""
        return int(self._refused.count_nonzero())

    def refused(self) -> dict[str, str]:
        """Return key -> reason of those files."""
        return {self.keys[i]: REASONS[int(self._refused[i]) - 1] for i in self._refused.nonzero()[:, 0].tolist()}

    def subset(self, indices: torch.Tensor) -> "FileSource":
        """Return a source of the files at ``indices`` (int64), in that order."""
        return FileSource(
            folder=self.folder,
            keys=self.keys.take(indices.tolist()),
            targets=self.targets[indices],
            strata=self.strata[indices],
            sizes=self.sizes[indices.numpy()],
            scaled=self.scaled,
            cache=self.cache,
        )

    def fingerprint(self) -> str:
        """Return a hash of keys, labels and file sizes; pixels are not read for it."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(self.targets.contiguous().numpy().data)
        digest.update(np.ascontiguousarray(self.sizes).data)
        digest.update("\n".join(map(nfc, self.keys)).encode())
        return digest.hexdigest()
