"""What lies in a folder or a CSV file: which files, with which label, in which split, and what is left out and why."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.sources.pictures import endings
from settings.errors import UserError

SPLITS = {
    "train": "train",
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    "test": "test",
}
"""Folder names, in any case, and the split each stands for."""
CSV_SPLITS = {**SPLITS, "training": "train", "testing": "test", "dev": "val"}
COLUMNS = {
    "file": ("file", "filename", "file_name", "path", "filepath", "file_path", "image", "image_path", "img"),
    "label": ("label", "labels", "class", "class_name", "target", "category"),
    "split": ("split", "set", "subset", "partition", "fold"),
}


@dataclass
class Listing:
    """Files in their order, as parallel columns.

    Attributes:
        keys: path of each, relative to the folder.
        labels: class name of each.
        splits: `train`, `val`, `test`, or "" where the data does not say.
        left_out: (path, reason) of everything else that was met.
        notes: what else a user would want to know.
    """

    keys: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, key: str, label: str, split: str) -> None:
        """Append a file."""
        self.keys.append(key)
        self.labels.append(label)
        self.splits.append(split)

    def without(self, reasons: Sequence[str | None]) -> "Listing":
        """Return the listing without the files that have a reason (one entry a file, None to stay)."""
        kept = Listing(left_out=list(self.left_out), notes=list(self.notes))
        for key, label, split, reason in zip(self.keys, self.labels, self.splits, reasons, strict=True):
            if reason is None:
                kept.add(key, label, split)
            else:
                kept.left_out.append((key, reason))
        return kept


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key that puts "2" before "10"; small and capital letters stand together."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)], name


def matched(pattern: re.Pattern[str], text: str, name: str) -> str | None:
    """Return what the group called ``name``, else the first group, finds in ``text``; None where nothing is."""
    found = pattern.search(text)
    if found is None:
        return None
    return (found[name] if name in pattern.groupindex else found[1]) or None


def list_folder(root: Path, label_from: str | None = None) -> Listing:
    """List a folder of class folders, or of `train`, `val` | `valid` | `validation` and `test` with class folders.

    Args:
        root: the folder.
        label_from: a regular expression whose group `label`, else first group, is the label, searched in each
            file's path below its split's folder, in place of the name of the class folder.

    Raises:
        UserError: two folders for one split, or nothing that could be a class.
    """
    listing = Listing()
    known = endings()
    pattern = re.compile(label_from) if label_from else None
    for split, base in _split_folders(root, listing):
        for relative in _walk(root / base if base else root, listing, base):
            key = f"{base}/{relative}" if base else relative
            ending = Path(relative).suffix.lower()
            if ending not in known:
                listing.left_out.append((key, ending or "no file ending"))
            elif pattern is not None:
                label = matched(pattern, relative, "label")
                if label is None:
                    listing.left_out.append((key, "data.label_from finds no label"))
                else:
                    listing.add(key, label, split)
            elif "/" not in relative:
                listing.left_out.append((key, "outside class folders"))
            else:
                listing.add(key, relative.partition("/")[0], split)
    if not listing.keys:
        found = _counted(listing.left_out)
        raise UserError(
            f"data.root={root}: there are no images in class folders ({found or 'it is empty'})",
            "lay it out as train/CLASS/FILE, val/CLASS/FILE, test/CLASS/FILE, or as CLASS/FILE",
            "or say how file names tell the class: data.label_from='REGULAR EXPRESSION with one (group)'",
        )
    return listing


def _split_folders(root: Path, listing: Listing) -> list[tuple[str, str]]:
    """Return (split, folder name); one pair of empty strings where the folder is not laid out in splits."""
    folders = sorted(entry.name for entry in os.scandir(root) if _is_folder(entry) and not _hidden(entry.name))
    named: dict[str, list[str]] = {}
    for name in folders:
        if name.casefold() in SPLITS:
            named.setdefault(SPLITS[name.casefold()], []).append(name)
    if "train" not in named:  # so that classes may be called "valid" and "invalid"
        return [("", "")]
    for split, names in named.items():
        if len(names) > 1:
            raise UserError(f"data.root={root}: {' and '.join(names)} both mean {split}; keep one")
    for entry in sorted(os.scandir(root), key=lambda one: natural(one.name)):
        if _is_folder(entry) and entry.name.casefold() not in SPLITS:
            reason = "hidden" if _hidden(entry.name) else "folder beside train that is no split"
            listing.left_out.append((f"{entry.name}/", reason))
        elif not _is_folder(entry):
            listing.left_out.append((entry.name, "hidden" if _hidden(entry.name) else "outside class folders"))
    return [(split, named[split][0]) for split in ("train", "val", "test") if split in named]


def _walk(folder: Path, listing: Listing, base: str) -> Iterator[str]:
    """Yield paths of files below the folder, in natural order; links are followed, but not in circles."""
    prefix = f"{base}/" if base else ""
    seen: set[tuple[int, int]] = set()

    def walk(inner: str) -> Iterator[str]:
        here = folder / inner if inner else folder
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        entries = sorted(os.scandir(here), key=lambda one: natural(one.name))
        if inner and not entries:
            listing.left_out.append((f"{prefix}{inner}/", "empty folder"))
        for entry in entries:
            relative = f"{inner}/{entry.name}" if inner else entry.name
            if _hidden(entry.name):
                listing.left_out.append((prefix + relative + "/" * _is_folder(entry), "hidden"))
            elif not _is_utf8(entry.name):
                listing.left_out.append((ascii(prefix + relative), "name that is not UTF-8"))
            elif _is_folder(entry):
                yield from walk(relative)
            else:
                yield relative

    yield from walk("")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """No for a loop of links, of which the system says that it cannot tell."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def label_set(label: str) -> list[str]:
    """The labels of `a|b`, each once; none of an empty text."""
    return list(dict.fromkeys(part.strip() for part in label.split("|") if part.strip()))


def list_csv(file: Path, *, several: bool = False) -> Listing:
    """List a CSV file with a column of files (relative to its folder), one of labels, and perhaps one of splits.

    Args:
        file: the file.
        several: an image may have several labels, `a|b`, or none.

    Raises:
        UserError: it cannot be read; each mistake with its line.
    """
    rows = _rows(file)
    places, rows = _columns(file, rows)
    listing, wrong = Listing(), []
    first: dict[str, tuple[int, str, str]] = {}
    for line, row in rows:
        cells = {name: row[place].strip() if place < len(row) else "" for name, place in places.items()}
        split = cells.get("split", "").casefold()
        missing = [name for name, text in cells.items() if not text and not (several and name == "label")]
        if missing:
            wrong.append(f"{file}, line {line}: no {' and no '.join(missing)}")
        elif split and split not in CSV_SPLITS:
            wrong.append(f"{file}, line {line}: split {cells['split']!r}; there is train, val and test")
        elif cells["file"] in first:
            before, label, other = first[cells["file"]]
            if (label, other) != (cells["label"], split):
                wrong.append(
                    f"{file}, line {line}: {cells['file']} stands in line {before} with another label or split"
                )
            else:
                listing.left_out.append((cells["file"], "listed twice"))
        else:
            first[cells["file"]] = line, cells["label"], split
            listing.add(cells["file"], cells["label"], CSV_SPLITS[split] if split else "")
    if wrong:
        more = [f"... and {len(wrong) - 8} more lines"] if len(wrong) > 8 else []
        raise UserError(*wrong[:8], *more)
    if not listing.keys:
        raise UserError(f"{file}: there is no line below the header")
    return listing


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


def _counted(left_out: Sequence[tuple[str, str]]) -> str:
    counts: dict[str, list[str]] = {}
    for key, reason in left_out:
        counts.setdefault(reason, []).append(key)
    return ", ".join(
        f"{len(keys)} {reason} ({keys[0]}{', ...' if len(keys) > 1 else ''})" for reason, keys in counts.items()
    )
