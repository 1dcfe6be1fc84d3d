"""What can be known of `data=folder` and `data=csv` before any file is read."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TARGETS = ("datamodules.folder.Folder", "datamodules.csv_file.CsvFile")

MOST_BITS = 16  # of 64: a quarter; unrelated pictures differ in half of them


def mistakes(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (argument, what is wrong with it) of the section `data`; wrong types are for others to say."""
    target = data.get("_target_")
    if target not in TARGETS:
        return
    if data.get("root") is None:
        example = "~/photos" if target == TARGETS[0] else "~/photos/labels.csv"
        yield "root", f" is needed: where your images are, such as data.root={example}"
    share, held_out = data.get("test_fraction", 0.15), data.get("val_fraction", 0.15)
    if _is_number(share) and not 0 < share < 1:
        yield "test_fraction", f"={share}: must be more than 0 and less than 1"
    elif _is_number(share) and _is_number(held_out) and held_out < 1 <= share + held_out:
        yield "test_fraction", f"={share}: with data.val_fraction={held_out} it leaves nothing to train on"
    bits, check = data.get("near_duplicates"), data.get("check", "auto")
    if isinstance(bits, int) and not isinstance(bits, bool):
        if not 0 <= bits <= MOST_BITS:
            yield "near_duplicates", f"={bits}: must be from 0 to {MOST_BITS}, of 64 bits"
        elif check in ("quick", "off"):
            yield "near_duplicates", f"={bits} decodes every file, but data.check={check}; take auto or full"
    side: Any = data.get("cache_side")
    if isinstance(side, int) and side < 1:
        yield "cache_side", f"={side}: must be a number of pixels, from 1 on"
    if side is not None and data.get("cache") is None:
        yield "cache_side", f"={side}: does nothing without data.cache=FOLDER"
    bad: Any = data.get("max_bad_files")
    if _is_number(bad) and (bad < 0 or (isinstance(bad, float) and bad >= 1)):
        yield "max_bad_files", f"={bad}: must be a whole number of files from 0 on, or a share from 0.0 to below 1.0"
    for name in ("label_from", "group_by"):
        pattern = data.get(name)
        if isinstance(pattern, str):
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                yield name, f"={pattern!r:.80}: no regular expression ({error})"
                continue
            if not groups:
                yield name, f"={pattern!r:.80}: needs a (group) around the part that counts"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


LOOKED_AT = 2**16
"""Bytes at the beginning of a CSV file that tell what it holds."""


def holds_label_sets(file: Path) -> bool:
    """Whether a CSV file has a column `labels` in which a cell is `a|b`."""
    if not file.is_file():
        return False
    try:
        with file.open("rb") as opened:
            lines = opened.read(LOOKED_AT).decode("utf-8-sig", errors="replace").splitlines()
    except OSError:
        return False  # the data module says what is wrong
    if not lines:
        return False
    delimiter = max(",;\t", key=lines[0].count)
    try:
        head, *rows = csv.reader(lines, delimiter=delimiter)
    except (csv.Error, ValueError):
        return False
    names = [name.strip().casefold() for name in head]
    if "labels" not in names:
        return False
    place = names.index("labels")
    return any("|" in row[place] for row in rows if len(row) > place)
