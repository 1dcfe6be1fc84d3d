"""Tar and zip files, unpacked so that nothing is written outside the target, whatever their members are called.

Only folders and regular files are written, each by its own checked path. Links are refused: what an unpacked link
points to is how archives got out of torchvision's `extract_archive`, and out of the standard library's own filter in
early releases of Python 3.11 (CVE-2025-4517).
"""

import errno
import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from settings.errors import UserError

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
SPARE = 100 * 1024**2  # bytes that stay free on the disk
MAX_RATIO = 30.0
"""How many times its own size an archive may unpack to. Pictures hardly shrink; a bomb grows a thousandfold."""
ALWAYS_ALLOWED = 64 * 1024**2  # bytes, whatever the size of the archive
LONGEST_NAME = 255  # bytes, of the usual file systems
TAR_BLOCK = 512  # bytes that a tar file has for each member, and that a million empty ones are made of
LONGEST_HEADER = 1024**2  # bytes; tarfile reads the header of a long name into memory, as long as it says it is
UTF8_NAME = 0x800  # flag of a zip member whose name is said to be UTF-8


class Member(NamedTuple):
    """A file or folder in an archive."""

    name: str
    size: int
    is_file: bool
    handle: Any


def is_archive(path: Path) -> bool:
    """Whether it is a file with the ending of an archive."""
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def unpacked(archive: Path, below: Path, *, max_ratio: float = MAX_RATIO) -> Path:
    """Return the folder that holds what is in an archive; unpacks it once, whole or not at all.

    Of several processes that ask at once one unpacks, and the others wait.

    Args:
        archive: a tar or zip file.
        below: where the folder is made, named by the archive, its size and its time.
        max_ratio: how many times its own size it may unpack to.

    Raises:
        UserError: it is damaged, too large for the disk or the limit, or has members that are no plain files inside it.
    """
    status = archive.stat()
    mark = hashlib.blake2b(f"{archive}{status.st_size}{status.st_mtime_ns}".encode(), digest_size=4).hexdigest()
    target = below / f"{archive.name.partition('.')[0]}-{mark}"
    if not target.is_dir():
        below.mkdir(parents=True, exist_ok=True)
        with _alone(below) as is_sure:
            for rest in below.glob(f".unpacking-{mark}-*") if is_sure else ():  # of a process that was killed
                shutil.rmtree(rest, ignore_errors=True)
            if not target.is_dir():
                with tempfile.TemporaryDirectory(dir=below, prefix=f".unpacking-{mark}-") as fresh:
                    unpack(archive, Path(fresh) / "whole", max_ratio=max_ratio)
                    _put(Path(fresh) / "whole", target)
    inside = [entry for entry in target.iterdir() if entry.name != "__MACOSX"]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else target


def unpack(archive: Path, target: Path, *, max_ratio: float = MAX_RATIO) -> None:
    """Write an archive's files below ``target``.

    Raises:
        UserError: as `unpacked`; names the member.
    """
    target.mkdir(parents=True, exist_ok=True)
    try:
        members = _checked(archive, max_ratio)
        total, free = sum(member.size for member in members), shutil.disk_usage(target).free
        if total > free - SPARE:
            raise UserError(f"{archive} holds {total / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free at {target}")
        with _opened(archive) as file:
            for member in members:
                if member.is_file:
                    content = _content(file, member.handle)
                    with content:
                        _write(content, member.size, target / _inside(archive, member.name))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:160]  # RuntimeError: a password is needed
        raise UserError(f"{archive} cannot be unpacked: {reason}") from error
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):  # else the disk's own
            raise
        raise UserError(f"{archive} is refused: a name in it cannot be one here ({error.strerror})") from error


def _checked(archive: Path, max_ratio: float) -> list[Member]:
    """All members, looked at before anything is written; stops at the first that goes beyond the limit."""
    limit = max(max_ratio * archive.stat().st_size, ALWAYS_ALLOWED)
    files: dict[PurePosixPath, None] = {}
    folders: set[PurePosixPath] = set()
    members, total = [], 0
    with _opened(archive) as file:
        for member in _zip(archive, file) if isinstance(file, zipfile.ZipFile) else _tar(archive, file):
            total += member.size + (0 if isinstance(file, zipfile.ZipFile) else TAR_BLOCK)
            if total > limit:
                raise UserError(
                    f"{archive} is refused: it has {archive.stat().st_size / 1e6:.3g} MB and unpacks to more than "
                    f"{limit / 1e6:.3g} MB; data.max_unpack_ratio={max_ratio:g} is how many times its size it may"
                )
            path = _inside(archive, member.name)
            if any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
                raise UserError(f"{archive} is refused: {member.name[:60]!r}... in it is a name of more than 255 bytes")
            folders.update(path.parents)
            if member.is_file:
                files[path] = None
            else:
                folders.add(path)
            members.append(member)
    if both := next((path for path in files if path in folders), None):
        raise UserError(f"{archive} is refused: {str(both)!r:.120} in it is both a file and a folder")
    return members


def _opened(archive: Path) -> "zipfile.ZipFile | tarfile.TarFile":
    return zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive, tarinfo=_Head)


def _content(file: "zipfile.ZipFile | tarfile.TarFile", handle: Any) -> IO[bytes]:
    found = file.open(handle) if isinstance(file, zipfile.ZipFile) else file.extractfile(handle)
    assert found is not None  # as it is a regular file
    return found


class _Head(tarfile.TarInfo):
    """A member of a tar file whose header cannot fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Head":
        head = super().frombuf(buf, encoding, errors)
        plain = head.type in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE)
        if not plain and head.size > LONGEST_HEADER:
            raise UserError(f"the archive is refused: a header in it has {head.size / 1e6:.3g} MB")
        return head


def _zip(archive: Path, file: zipfile.ZipFile) -> Iterator[Member]:
    """Yield the members; a link is stored as one with a mode of its own."""
    for member in file.infolist():
        if member.external_attr >> 16 & 0o170000 == 0o120000:
            raise UserError(f"{archive} is refused: {member.filename!r:.120} in it is a link")
        yield Member(_zip_name(member), 0 if member.is_dir() else member.file_size, not member.is_dir(), member)


def _zip_name(member: zipfile.ZipInfo) -> str:
    """The name; some writers, macOS among them, write UTF-8 without saying so, and it is read as code page 437."""
    if member.flag_bits & UTF8_NAME or member.filename.isascii():
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


def _tar(archive: Path, file: tarfile.TarFile) -> Iterator[Member]:
    for member in file:
        if not member.isreg() and not member.isdir():
            raise UserError(f"{archive} is refused: {member.name!r:.120} in it is a link or a device")
        yield Member(member.name, member.size if member.isreg() else 0, member.isreg(), member)


def _inside(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]) or "\0" in name:
        raise UserError(f"{archive} is refused: {name!r:.120} in it would be written elsewhere")
    return path


def _write(content: IO[bytes], size: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        left = size  # as the archive's head says, and no more
        while left > 0 and (part := content.read(min(left, 1 << 20))):
            file.write(part)
            left -= len(part)


def _put(fresh: Path, target: Path) -> None:
    """Give the folder its name, unless another machine on the same drive was first."""
    try:
        fresh.replace(target)
    except OSError:
        if not target.is_dir():
            raise


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Wait until no other process of this machine unpacks into the folder; false where that cannot be told."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # Windows
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            sure = True
        except OSError:  # some network drives
            sure = False
        yield sure
    finally:
        os.close(handle)
