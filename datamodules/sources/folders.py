"""A folder of images: whether it is laid out in splits, which file has which class, and where it looks like neither."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datamodules.sources.listing import PLAIN_SPLITS, Listing, matched, natural, split_of, summary
from datamodules.sources.pictures import endings
from settings.errors import UserError
from settings.paths import nfc

SPLIT_ORDER = ("train", "val", "test")


def list_folder(root: Path, label_from: str | None = None) -> Listing:
    """List a folder of class folders, or of split folders with class folders: `train`, `val`, `test` by a usual name.

    Args:
        root: the folder.
        label_from: a regular expression whose group `label`, else first group, is the label, searched in each
            file's path below its split's folder, in place of the name of the class folder.

    Raises:
        UserError: two folders for one split, nothing that could be a class, a split without any readable image, or
            folders that look like something else than classes; names the likely root.
    """
    listing = Listing()
    known = endings()
    pattern = re.compile(label_from) if label_from else None
    folders = _split_folders(root, listing, any_depth=pattern is not None)
    for split, base in folders:
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
        raise UserError(
            f"data.root={root}: there are no images in class folders ({summary(listing.left_out) or 'it is empty'})",
            "lay it out as train/CLASS/FILE, val/CLASS/FILE, test/CLASS/FILE, or as CLASS/FILE",
            "or say how file names tell the class: data.label_from='REGULAR EXPRESSION with one (group)'",
        )
    _look_at_empty_splits(root, listing, folders)
    if pattern is None:
        base = next(base for split, base in folders if split in ("", "train"))
        prefix = f"{base}/" if base else ""
        keys = [key.removeprefix(prefix) for key in listing.keys if key.startswith(prefix)]
        _refuse_what_are_no_classes(root, base, [key.split("/") for key in keys])
    return listing


def one_class_hint(keys: Sequence[str], root: Path, splits: bool) -> str:
    """Where the classes may be, for files that all lie below one class folder; empty where nothing looks like them.

    Args:
        keys: paths of the images.
        root: what they are relative to.
        splits: whether a split's folder stands in front of the class folder.
    """
    above = keys[0].split("/")[: 2 if splits else 1]
    while True:
        inner = {key.split("/")[len(above)] for key in keys if key.count("/") > len(above)}
        direct = any(key.count("/") == len(above) for key in keys)
        if direct or len(inner) != 1:
            break
        above.append(*inner)
    if direct or not inner:
        return ""
    names = _some(inner)
    if splits:
        expression = "[^/]+/" * (len(above) - 1)
        return f"the folders below it look like the classes ({names}): data.label_from='^{expression}([^/]+)/'"
    return f"the root seems to be data.root={root.joinpath(*above)} (it holds {names})"


def _split_folders(root: Path, listing: Listing, *, any_depth: bool) -> list[tuple[str, str]]:
    """Return (split, folder name); one pair of empty strings where the folder is not laid out in splits."""
    entries = sorted(os.scandir(root), key=lambda one: natural(one.name))
    folders = [entry.name for entry in entries if _is_folder(entry) and not _hidden(entry.name)]
    named: dict[str, list[str]] = {}
    for name in folders:
        if split := split_of(name):
            named.setdefault(split, []).append(name)
    if not _is_laid_out_in_splits(root, named, folders, any_depth=any_depth):
        return [("", "")]
    chosen = {}
    for split, names in named.items():
        plain = [name for name in names if name.casefold() in PLAIN_SPLITS]
        if len(plain or names) > 1:
            raise UserError(f"data.root={root}: {' and '.join(plain or names)} both mean {split}; keep one")
        chosen[split] = (plain or names)[0]
    for entry in entries:
        if not _is_folder(entry):
            listing.left_out.append((entry.name, "hidden" if _hidden(entry.name) else "outside class folders"))
        elif entry.name not in chosen.values():
            reason = "hidden" if _hidden(entry.name) else "folder beside train that is no split"
            listing.left_out.append((f"{entry.name}/", reason))
            if not _hidden(entry.name) and _shares_folders(root / entry.name, root / chosen["train"]):
                listing.notes.append(f"{entry.name}/ holds the classes of train, but its name means no split: left out")
    found = [(split, chosen[split]) for split in SPLIT_ORDER if split in chosen]
    if any(name.casefold() not in PLAIN_SPLITS for _, name in found):
        listing.notes.append(f"taken as splits: {', '.join(f'{name} as {split}' for split, name in found)}")
    return found


def _is_laid_out_in_splits(root: Path, named: dict[str, list[str]], folders: list[str], *, any_depth: bool) -> bool:
    """No for classes that are called so: `valid` and `invalid`, or `bus`, `car` and `train`."""
    if "train" not in named:
        return False
    if len(named) > 1 or len(folders) == 1:
        return True
    plain = any(name.casefold() in PLAIN_SPLITS for name in named["train"])
    return plain and (any_depth or any(_folders_in(root / name) for name in named["train"]))


def _look_at_empty_splits(root: Path, listing: Listing, folders: Iterable[tuple[str, str]]) -> None:
    """Refuse a split whose files are all left out, rather than cut another in its place; say which folder is empty."""
    for split, base in folders:
        if split in listing.splits or not split:
            continue
        files = [(key, why) for key, why in listing.left_out if key.startswith(f"{base}/") and not key.endswith("/")]
        files = [(key, why) for key, why in files if why != "hidden"]
        if files:
            raise UserError(f"data.root={root}: {base} holds no image in class folders: {summary(files)}")
        listing.notes.append(f"{base}/ holds no file, as if it were not there")


def _refuse_what_are_no_classes(root: Path, base: str, paths: Sequence[Sequence[str]]) -> None:
    """Refuse folders too high for classes: what they hold are splits, or the same folders in each of them."""
    top = root / base if base else root
    classes = sorted({path[0] for path in paths}, key=natural)
    roots = [] if base else _likely_roots(paths, classes)
    if roots:
        raise UserError(
            f"data.root={root}: its folders {_some(classes)} are no classes, they hold folders of splits",
            f"the root seems to be data.root={' or data.root='.join(str(root.joinpath(*one)) for one in roots[:3])}",
        )
    direct = any(len(path) == 2 for path in paths)
    inner = [{nfc(path[1]) for path in paths if path[0] == name and len(path) > 2} for name in classes]
    shared, union = set.intersection(*inner), set.union(*inner)
    if direct or len(classes) < 2 or not shared or 2 * len(shared) < len(union):
        return
    first = f"data.root={top}: the folders {_some(classes)} all hold the same folders ({_some(shared)})"
    lines = [f"if {_some(classes)} are the classes: data.label_from='^([^/]+)/'"]
    if any(split_of(name) for name in shared):
        lines += [f"if {_some(shared)} are splits: lay it out as train/CLASS/FILE, or list it in a CSV file (data=csv)"]
    elif base:
        lines += [f"if {_some(shared)} are the classes: data.label_from='^[^/]+/([^/]+)/'"]
    else:
        lines += [
            f"if {_some(shared)} are the classes: data.root={top / classes[0]} is the root, "
            f"or {_some(classes)} are splits, to be called train, val and test"
        ]
    raise UserError(f"{first}, so which are the classes?", *lines)


def _likely_roots(paths: Sequence[Sequence[str]], classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Folders below that hold a folder for training with class folders, and another split, or that in each class."""
    inside: dict[tuple[str, ...], set[str]] = {}
    for path in paths:
        for depth in range(1, len(path) - 1):
            split = split_of(path[depth])
            if split and (split != "train" or len(path) > depth + 2):
                inside.setdefault(tuple(path[:depth]), set()).add(split)
    training = {place for place, found in inside.items() if "train" in found}
    complete = [place for place in training if len(inside[place]) > 1]
    everywhere = {place[0] for place in training} == set(classes)
    return sorted(complete or (training if everywhere else ()))


def _shares_folders(one: Path, other: Path) -> bool:
    mine, theirs = _folders_in(one), _folders_in(other)
    return bool(mine) and 2 * len(mine & theirs) >= len(mine)


def _folders_in(folder: Path) -> set[str]:
    """Names of the folders in it, in NFC."""
    try:
        return {nfc(entry.name) for entry in os.scandir(folder) if _is_folder(entry) and not _hidden(entry.name)}
    except OSError:
        return set()


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names, key=natural)
    return f"{', '.join(ordered[:4])}{', ...' if len(ordered) > 4 else ''}"


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
