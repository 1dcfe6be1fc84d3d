"""Which image files a user's words mean: a folder, a glob, one file, a list of paths, or paths on standard input."""

import csv
import glob
import io
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.sources.listing import natural
from datamodules.sources.pictures import endings
from datamodules.sources.tables import COLUMNS, found_as
from settings.errors import UserError, nearest
from settings.paths import as_on_disk
from settings.whole_file import plain_cell

TABLES = (".csv", ".tsv")
LISTS = (".txt", ".lst", ".list")
# Pictures that Pillow does not read here: met in a folder they are reported, where notes and tables are passed over.
UNREAD = frozenset(
    {".heic", ".heif", ".hif", ".jxl", ".svg", ".eps", ".exr", ".hdr", ".xcf"}
    | {".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".srw", ".pef"}
)
WHOLE_LINE = "\x1f"  # as a delimiter: one that no line has


@dataclass
class NamedImages:
    """Files in their order, as parallel columns.

    Attributes:
        names: each as it was written or found; what a row of predictions is called.
        paths: where it lies.
        reasons: why there is nothing to read, None where there may be.
        passed_over: what lies beside images and is not meant: reason -> names.
    """

    names: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    reasons: list[str | None] = field(default_factory=list)
    passed_over: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str, path: str, reason: str | None = None) -> None:
        """Append a file."""
        self.names.append(name)
        self.paths.append(path)
        self.reasons.append(reason)

    def pass_over(self, name: str, reason: str) -> None:
        """Note what is not meant."""
        self.passed_over.setdefault(reason, []).append(name)


def find_images(words: str) -> NamedImages:
    """List the files that `words` mean.

    A folder stands for all images below it, in natural order, hidden ones left out. A list (.csv, .tsv, .txt, .lst)
    holds a path a line, relative to its own folder; of a table the column `path`, `file` or `image` counts, else the
    first. `-` reads paths from standard input. A glob's `**` goes through all folders.

    Raises:
        UserError: there is no such place, a list that cannot be read, or no image at all.
    """
    place = _at_home(words)
    ending = place.suffix.lower()
    found = NamedImages()
    if words == "-":
        _add_listed(found, _lines(sys.stdin.buffer.read()), Path())
    elif place.is_dir():
        _add_folder(found, place, set())
    elif os.path.lexists(place):
        if ending in TABLES:
            _add_listed(found, _cells(place), place.parent)
        elif ending in LISTS:
            _add_listed(found, _lines(_content(place)), place.parent)
        else:
            found.add(str(place), str(place))
    elif glob.has_magic(str(place)):
        _add_glob(found, str(place))
    else:
        raise UserError(f"images={words}: there is no such file or folder{_near(place)}")
    if not found.names:
        beside = "; ".join(f"{len(names)} {reason}" for reason, names in found.passed_over.items())
        raise UserError(f"images={words}: there is no image{f' ({beside})' if beside else ''}")
    return found


def _at_home(text: str) -> Path:
    """A path as it is on the disk, whose `~` is the home folder; `~name` is a name like any other."""
    try:
        return as_on_disk(Path(text).expanduser() if text == "~" or text.startswith("~/") else Path(text))
    except ValueError:  # a name that no file can have
        return Path(text)


def _add_folder(found: NamedImages, folder: Path, seen: set[tuple[int, int]]) -> None:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:  # a link that leads back
        return
    seen.add((status.st_dev, status.st_ino))
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
    except OSError:
        found.add(str(folder), str(folder), "folder that may not be read")
        return
    for entry in entries:
        path, ending = str(folder / entry.name), Path(entry.name).suffix.lower()
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            found.pass_over(path, "hidden")
        elif ending in endings():
            found.add(path, path)
        elif ending in UNREAD:
            found.add(path, path, f"{ending} file, to be converted to JPEG or PNG")
        elif not Path(path).is_dir():  # unlike entry.is_dir(), no for a loop of links
            found.pass_over(path, f"{ending} files" if ending else "files without an ending")
        if Path(path).is_dir() and not entry.name.startswith(".") and entry.name != "__MACOSX":
            _add_folder(found, folder / entry.name, seen)


def _add_glob(found: NamedImages, pattern: str) -> None:
    for path in sorted(glob.iglob(pattern, recursive=True), key=natural):  # noqa: PTH207 (pathlib's takes no absolute)
        if Path(path).is_dir() and Path(path).suffix.lower() not in endings():
            found.pass_over(path, "folders")
        else:
            found.add(path, path)


def _add_listed(found: NamedImages, listed: Iterable[tuple[int, str]], folder: Path) -> None:
    for line, name in listed:
        if name.strip():
            found.add(name, str(folder / found_as(folder, str(_at_home(name)))))
        else:
            found.add("", "", f"line {line} names no file")


def _lines(content: bytes) -> Iterator[tuple[int, str]]:
    """Yield (line number, path) of a text that holds one a line; paths need not be UTF-8."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, os.fsdecode(line.removesuffix(b"\r"))


def _cells(file: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, path) of a table: from the column whose name says it, else the first."""
    content = _content(file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"images={file}, line {line}: not UTF-8; save it as UTF-8") from error
    delimiter = _delimiter(text.partition("\n")[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    column: int | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if column is None:
                names = [cell.strip().casefold() for cell in row]
                column = min((names.index(name) for name in COLUMNS["file"] if name in names), default=0)
                if names[column] in COLUMNS["file"] or not _is_picture(names[column]):
                    continue  # a header
            yield reader.line_num, plain_cell(row[column]) if column < len(row) else ""
    except csv.Error as error:
        raise UserError(f"images={file}, line {reader.line_num}: {error}") from error


def _delimiter(head: str) -> str:
    """What parts the columns: what the first line has most of, unless it is one path that holds a comma."""
    counts = {one: head.count(one) for one in ",;\t"}
    likeliest = max(counts, key=counts.__getitem__)
    one_path = _is_picture(head) and not _is_picture(head.split(likeliest)[0])
    return likeliest if counts[likeliest] and not (one_path and '"' not in head) else WHOLE_LINE


def _is_picture(name: str) -> bool:
    return Path(name.strip().strip('"')).suffix.lower() in endings()


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"images={file}: cannot be read ({error.strerror or error})") from error


def _near(place: Path) -> str:
    """Name what lies beside and is called alike."""
    try:
        names = [entry.name for entry in os.scandir(place.parent)]
    except (OSError, ValueError):
        return ""
    close = nearest(place.name, names)
    return f"; nearest: {', '.join(close)}" if close else ""
