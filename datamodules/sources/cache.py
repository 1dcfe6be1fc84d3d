"""Decoded pictures on disk (`data.cache`): each is made when it is first read, and then read in place of its file.

An entry is named by the hash of its file's bytes and of how it is kept: copied, moved or touched files are not decoded
again. As hashing a file takes longer than reading an entry, it has a second name (a hard link), by the file's path,
size and time, that is looked up first: a file changed at an equal size whose time is set back shows the old picture.
What is no longer asked for can be deleted at any time. An entry is written under another name and then renamed, and
carries a checksum: several processes may share a folder, a run may be killed, and a damaged entry is made again.
"""

import hashlib
import os
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np
import torch

from datamodules.sources.jpeg import shrink_for
from datamodules.sources.pictures import read_picture
from settings.errors import StorageError, UserError
from settings.whole_file import writing

HEAD = struct.Struct("<4sI5I36x")  # mark, checksum of all that follows; sizes, as in `Entry.sizes`; to 64 bytes
MARK = b"LBC1"
BLOCK = 4096  # bytes
LEFT_BEHIND = 3600.0  # seconds: then what a killed process was writing is removed
SPARE = 1.25  # training crops: the short side that is kept, in that of evaluation


class Kept(NamedTuple):
    """How a picture is kept.

    Attributes:
        side: its short side is brought down to so many pixels; a smaller picture stays as it is.
        interpolation: of that, antialiased.
        scaled: the file may be decoded smaller for it.
    """

    side: int
    interpolation: str
    scaled: bool = False


class Entry(NamedTuple):
    """A picture as it is kept.

    Attributes:
        image: uint8 ``(C, H, W)``.
        whole: (height, width) of the picture in its file, upright.
    """

    image: torch.Tensor
    whole: tuple[int, int]

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Channels, height and width, and those of the file."""
        channels, height, width = self.image.shape
        return channels, height, width, *self.whole


class CacheError(StorageError):
    """The folder is full, or gone; survives the way out of a loader's worker, as its last line."""

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().splitlines()[-1].rpartition("CacheError: ")[2])


class PictureCache:
    """Entries in a folder, 256 folders deep.

    Args:
        folder: made where it is not there.
        side: short side in pixels that is kept for training crops; None: 1.25 times that of evaluation.

    Raises:
        UserError: the folder cannot be written to.
    """

    def __init__(self, *, folder: Path, side: int | None = None) -> None:
        self.folder = Path(folder)
        self.side = side
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.folder):
                pass
            for left in self.folder.glob("*/*.tmp"):
                with suppress(FileNotFoundError):  # another process has just given it its name
                    if time.time() - left.stat().st_mtime > LEFT_BEHIND:
                        left.unlink()
        except OSError as error:
            raise UserError(f"data.cache={folder}: cannot be written to: {error.strerror}") from error

    def crop_side(self, resize: int) -> int:
        """Return the short side that is kept for training crops, where evaluation resizes to ``resize``."""
        return self.side or round(SPARE * resize)

    def picture(self, path: Path, channels: int, kept: Kept) -> Entry:
        """Return a picture with so many channels, from its entry or, for the first time, from the file.

        Raises:
            Refused: the file cannot be read; nothing is kept then.
            CacheError: the entry cannot be written.
        """
        place = self.place(path, channels, kept)
        found = None if place is None else _read(place)
        if found is not None:
            return found
        content = self.content_place(path, channels, kept)
        found = None if content is None else _read(content)
        made = found or _made(path, channels, kept)
        if place is None or content is None or place != self.place(path, channels, kept):
            return made  # the file is being written: what was hashed may not be what was decoded
        if found is None:
            self._write(content, made)
        self._name(place, content, made)
        return made

    def place(self, path: Path, channels: int, kept: Kept) -> Path | None:
        """Where the entry is or will be by the file's path, size and time; None for a file that is not there."""
        try:
            status = path.stat()
        except (OSError, ValueError):
            return None
        whole = "\n".join(str(one) for one in (path.absolute(), status.st_size, status.st_mtime_ns, channels, *kept))
        return self._named(hashlib.blake2b(whole.encode(errors="surrogateescape"), digest_size=16))

    def content_place(self, path: Path, channels: int, kept: Kept) -> Path | None:
        """Where it is or will be by what the file holds; None for one that cannot be read."""
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        except (OSError, ValueError):
            return None
        digest.update("\n".join(("", str(channels), *map(str, kept))).encode())
        return self._named(digest)

    def _named(self, digest: Any) -> Path:
        name = digest.hexdigest()
        return self.folder / f"{name[:2]}/{name[2:]}"

    def _name(self, place: Path, content: Path, entry: Entry) -> None:
        """Give an entry its second name; where a disk has no links (FAT), a copy."""
        try:
            place.parent.mkdir(exist_ok=True)
            with writing(place) as fresh:
                os.link(content, fresh)
        except OSError:
            self._write(place, entry)

    def _write(self, place: Path, entry: Entry) -> None:
        pixels = np.ascontiguousarray(entry.image.permute(1, 2, 0).numpy()).reshape(-1)  # of (H, W, C)
        check = _checksum(pixels, entry.sizes)
        try:
            place.parent.mkdir(exist_ok=True)
            with writing(place) as fresh, fresh.open("wb") as file:
                file.write(HEAD.pack(MARK, check, *entry.sizes))
                file.write(pixels.data)
        except OSError as error:
            raise CacheError(f"data.cache={self.folder}: cannot be written to: {error.strerror}") from error


def _read(place: Path) -> Entry | None:
    """Read an entry; None where there is none, or it is damaged."""
    try:
        with place.open("rb", buffering=0) as file:  # in two thirds of fromfile's time
            stored = np.empty(os.fstat(file.fileno()).st_size, dtype=np.uint8)
            read = file.readinto(stored.data)
    except OSError:
        return None
    if read != len(stored) or read < HEAD.size:
        return None
    mark, check, depth, height, width, *whole = HEAD.unpack_from(stored.data)
    if mark != MARK or len(stored) != HEAD.size + depth * height * width:
        return None
    pixels = stored[HEAD.size :]
    entry = Entry(torch.from_numpy(pixels).view(height, width, depth).permute(2, 0, 1), (whole[0], whole[1]))
    return entry if _checksum(pixels, entry.sizes) == check else None


def _checksum(pixels: np.ndarray, sizes: tuple[int, ...]) -> int:
    """CRC-32 of the sizes, of the exclusive or of all whole blocks, and of the rest.

    In a quarter of the time of one over all bytes: any damage within one block is seen, and a block of zeros.
    """
    whole = len(pixels) // BLOCK * BLOCK
    blocks = pixels[:whole].view(np.uint64).reshape(-1, BLOCK // 8)
    check = zlib.crc32(HEAD.pack(MARK, 0, *sizes))
    return zlib.crc32(pixels[whole:].data, zlib.crc32(np.bitwise_xor.reduce(blocks, axis=0).data, check))


def _made(path: Path, channels: int, kept: Kept) -> Entry:
    whole: tuple[int, int] | None = None

    def shrink(height: int, width: int) -> int:
        nonlocal whole
        whole = height, width
        return shrink_for(min(height, width), kept.side) if kept.scaled else 1

    image = read_picture(path, channels, shrink)
    whole = whole or (image.shape[-2], image.shape[-1])
    if min(image.shape[-2:]) <= kept.side:
        return Entry(image, whole)
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as v2

    how = InterpolationMode(kept.interpolation)
    return Entry(v2.resize(image, [kept.side], interpolation=how, antialias=True), whole)
