"""A CSV file that lists images: its columns, and which file each line means, however the line spells it."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from datamodules.sources.listing import Listing, split_of
from datamodules.sources.pictures import endings
from settings.errors import UserError, nearest
from settings.paths import as_on_disk, nfc
from settings.whole_file import plain_cell

COLUMNS = {
    "file": ("file", "filename", "file_name", "path", "filepath", "file_path", "image", "image_path", "img"),
    "label": ("label", "labels", "class", "class_name", "target", "category"),
    "split": ("split", "set", "subset", "partition", "fold"),
}


def list_csv(file: Path, *, several: bool = False) -> Listing:
    """List a CSV file with a column of files (relative to its folder), one of labels, and perhaps one of splits.

    One file is one image: lines that spell it in different ways, or reach it by a link, mean the same.

    Args:
        file: the file.
        several: an image may have several labels, `a|b`, or none.

    Raises:
        UserError: it cannot be read; each mistake with its line.
    """
    rows = _rows(file)
    places, rows = _columns(file, rows)
    listing, wrong, backslashes = Listing(), [], 0
    first: dict[object, tuple[int, str, str, str | None]] = {}
    for line, row in rows:
        cells = {name: plain_cell(row[place].strip()) if place < len(row) else "" for name, place in places.items()}
        split = split_of(cells["split"]) if cells.get("split") else ""
        missing = [name for name, text in cells.items() if not text and not (several and name == "label")]
        if missing:
            wrong.append(f"{file}, line {line}: no {' and no '.join(missing)}")
            continue
        if split is None:
            wrong.append(f"{file}, line {line}: split {cells['split']!r}; there is train, val and test")
            continue
        written, label = cells["file"], nfc(cells["label"])
        key = found_as(file.parent, written)
        backslashes += "\\" in written and "\\" not in key
        same = _identity(file.parent / key)
        if same not in first:
            first[same] = line, written, label, split
            listing.add(key, label, split)
        elif first[same][2:] != (label, split):
            before, other, *_ = first[same]
            wrong.append(
                f"{file}, line {line}: {written} stands in line {before} with another label or split"
                + ("" if other == written else f", as {other}")
            )
        else:
            listing.left_out.append((written, "listed twice"))
    if wrong:
        more = [f"... and {len(wrong) - 8} more lines"] if len(wrong) > 8 else []
        raise UserError(*wrong[:8], *more)
    if not listing.keys:
        raise UserError(f"{file}: there is no line below the header")
    if backslashes:
        listing.notes.append(f"{backslashes} paths are written with backslashes, as on Windows; they are read as /")
    return listing


def found_as(folder: Path, written: str) -> str:
    """The path by which a file is there: as written, in another Unicode form, or with / for a backslash."""
    for spelling in dict.fromkeys((written, written.replace("\\", "/"))):
        try:
            if os.path.lexists(folder / spelling):
                return spelling
            form = as_on_disk(folder / spelling)
        except ValueError:  # a name that no file can have
            return written
        if form != folder / spelling:
            return str(form.relative_to(folder)) if form.is_relative_to(folder) else str(form)
    return written


def nearest_files(folder: Path, keys: Sequence[str], most: int = 3) -> list[str]:
    """`a.PNG (there is a.png)` for some of the paths that are not there and have something like them beside."""
    said: list[str] = []
    for key in keys[:100]:
        place = folder / key
        try:
            close = nearest(place.name, [one.name for one in place.parent.iterdir()], 1, cutoff=0.8)
        except (OSError, ValueError):
            continue
        if close:
            said.append(f"{key} (there is {close[0]})")
        if len(said) == most:
            break
    return said


def _identity(path: Path) -> object:
    """What two paths of one file share; a file that is not there is its path."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return nfc(os.path.normpath(path))
    return (status.st_dev, status.st_ino) if status.st_ino else nfc(os.path.realpath(path))


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    """Return (line number, cells) of each line that is not empty."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{file}, line {line}: not UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
    head = text.partition("\n")[0]
    reader = csv.reader(text.splitlines(keepends=True), delimiter=max(",;\t", key=head.count), strict=True)
    rows = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: {error}") from error
    if not rows:
        raise UserError(f"{file} is empty; its columns must be file,label or file,label,split")
    return rows


def _columns(file: Path, rows: list[tuple[int, list[str]]]) -> tuple[dict[str, int], list[tuple[int, list[str]]]]:
    """Return column -> position, and the rows below the header; columns are known by their names."""
    line, head = rows[0]
    names = [cell.strip().casefold() for cell in head]
    places = {
        column: names.index(known) for column, words in COLUMNS.items() for known in reversed(words) if known in names
    }
    if {"file", "label"} <= set(places):
        return places, rows[1:]
    if not places and len(head) in (2, 3) and Path(head[0].strip()).suffix.lower() in endings():
        return dict(zip(COLUMNS, range(len(head)), strict=False)), rows
    absent = " and no ".join(column for column in ("file", "label") if column not in places)
    raise UserError(
        f"{file}, line {line}: no column {absent} among {', '.join(head)[:120]}; "
        "name the columns file,label or file,label,split"
    )
