"""Tar and zip files, unpacked so that nothing is written outside the target, whatever their members are called.

Only folders and regular files are written, each by its own checked path. Links are refused: what an unpacked link
points to is how archives got out of torchvision's `extract_archive`, and out of the standard library's own filter in
early releases of Python 3.11 (CVE-2025-4517).
"""

import hashlib
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from settings.errors import UserError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
SPARE = 100 * 1024**2  # bytes that stay free on the disk


def is_archive(path: Path) -> bool:
    """Whether it is a file with the ending of an archive."""
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def unpacked(archive: Path, below: Path) -> Path:
    """Return the folder that holds what is in an archive; unpacks it once, whole or not at all.

    Args:
        archive: a tar or zip file.
        below: where the folder is made, named by the archive, its size and its time.

    Raises:
        UserError: it is damaged, too large for the disk, or has members that are no plain files inside it.
    """
    status = archive.stat()
    mark = hashlib.blake2b(f"{archive}{status.st_size}{status.st_mtime_ns}".encode(), digest_size=4).hexdigest()
    target = below / f"{archive.name.partition('.')[0]}-{mark}"
    if not target.is_dir():
        below.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=below, prefix=".unpacking-") as fresh:
            unpack(archive, Path(fresh) / "whole")
            (Path(fresh) / "whole").replace(target)
    inside = [entry for entry in target.iterdir() if entry.name != "__MACOSX"]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else target


def unpack(archive: Path, target: Path) -> None:
    """Write an archive's files below ``target``.

    Raises:
        UserError: as `unpacked`; names the member.
    """
    target.mkdir(parents=True, exist_ok=True)
    try:
        members = list(_zip(archive)) if zipfile.is_zipfile(archive) else list(_tar(archive))
        total, free = sum(size for _, size in members), shutil.disk_usage(target).free
        if total > free - SPARE:
            raise UserError(f"{archive} holds {total / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free at {target}")
        for name, _ in members:
            _inside(archive, name)
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                for name, size in members:
                    with file.open(name) as content:
                        _write(content, size, target / _inside(archive, name))
        else:
            with tarfile.open(archive) as file:
                for member in file:
                    found = file.extractfile(member) if member.isreg() else None
                    if found is not None:
                        _write(found, member.size, target / _inside(archive, member.name))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:160]  # RuntimeError: a password is needed
        raise UserError(f"{archive} cannot be unpacked: {reason}") from error


def _zip(archive: Path) -> Iterator[tuple[str, int]]:
    """Yield (name, bytes) of the files; a link is stored as one with a mode of its own."""
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if member.external_attr >> 16 & 0o170000 == 0o120000:
                raise UserError(f"{archive} is refused: {member.filename!r:.120} in it is a link")
            if not member.is_dir():
                yield member.filename, member.file_size


def _tar(archive: Path) -> Iterator[tuple[str, int]]:
    with tarfile.open(archive) as file:
        for member in file:
            if not member.isreg() and not member.isdir():
                raise UserError(f"{archive} is refused: {member.name!r:.120} in it is a link or a device")
            if member.isreg():
                yield member.name, member.size


def _inside(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0] or "\0" in name:
        raise UserError(f"{archive} is refused: {name!r:.120} in it would be written elsewhere")
    return path


def _write(content: IO[bytes], size: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        left = size  # as the archive's head says, and no more
        while left > 0 and (part := content.read(min(left, 1 << 20))):
            file.write(part)
            left -= len(part)
