"""Which files can be read, and which stand in two splits; remembered by path, size and time."""

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datamodules.sources.near import perceptual_hash
from datamodules.sources.pictures import FORBIDDEN, Refused, check_header, read_picture
from settings.whole_file import write_text

NOT_THERE = "not there"
Level = Literal["auto", "full", "quick", "off"]
DEPTH = {"off": 0, "quick": 1, "full": 2}
FULL_UP_TO = 2 * 1024**3  # bytes that `auto` reads whole


class Seen(NamedTuple):
    """What is known of one file.

    Attributes:
        size: in bytes.
        time: of its last change, in ns.
        depth: how far it was read: 0 not at all, 1 its header, 2 all of it.
        reason: why it is left out, None if it is not.
        digest: hash of its bytes, where another file has the same size, else "".
        look: its perceptual hash, where that was asked for, else "".
    """

    size: int
    time: int
    depth: int
    reason: str | None
    digest: str = ""
    look: str = ""


def check_files(folder: Path, keys: Sequence[str], *, level: Level, memory: Path, looks: bool = False) -> list[Seen]:
    """Look at every file.

    Args:
        folder: what the keys are relative to.
        keys: paths of the files.
        level: `off` asks only whether they are there, `quick` opens each, `full` decodes each and hashes those that
            have another's size; `auto` is full up to 2 GB and quick above.
        memory: a JSON file with what was found before; made where it is not.
        looks: hash what each picture looks like, for which all are decoded.
    """
    stats = [_stat(folder / key) for key in keys]
    if level == "auto":
        level = "full" if sum(size for size, _ in stats) <= FULL_UP_TO else "quick"
    depth = 2 if looks else DEPTH[level]
    known = _remembered(memory)
    sizes, counts = np.unique([size for size, _ in stats], return_counts=True)
    shared = set(sizes[counts > 1].tolist()) if depth == 2 else set()

    def look(item: tuple[str, tuple[int, int]]) -> Seen:
        key, (size, time) = item
        before = known.get(key)
        if before and before[:2] == (size, time) and before.depth >= depth and before.reason != FORBIDDEN:
            complete = (before.digest or size not in shared) and (before.look or not looks)
            if complete or before.reason:
                return before
        path, look = folder / key, ""
        reason = NOT_THERE if size < 0 else None
        if reason is None and depth:
            try:
                if depth == 2:
                    picture = read_picture(path, 3)
                    look = perceptual_hash(picture) if looks else ""
                else:
                    check_header(path)
            except Refused as refused:
                reason = str(refused)
        digest = _digest(path) if reason is None and size in shared else ""
        return Seen(size, time, depth, reason, digest, look)

    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")  # Pillow's, of files that it reads all the same
        found = list(pool.map(look, zip(keys, stats, strict=True)))
    if depth and found != [known.get(key) for key in keys]:
        _remember(memory, dict(zip(keys, found, strict=True)))
    return found


def in_two_splits(keys: Sequence[str], splits: Sequence[str], seen: Sequence[Seen]) -> list[list[tuple[str, str]]]:
    """Return groups of (split, key) that hold the same bytes and do not all stand in one split."""
    groups: dict[tuple[int, str], list[tuple[str, str]]] = {}
    for key, split, one in zip(keys, splits, seen, strict=True):
        if one.digest:
            groups.setdefault((one.size, one.digest), []).append((split, key))
    return [group for group in groups.values() if len({split for split, _ in group}) > 1]


def _stat(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, 0
    return (status.st_size, status.st_mtime_ns) if path.is_file() else (-1, 0)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _remembered(memory: Path) -> dict[str, Seen]:
    try:
        stored = json.loads(memory.read_text(encoding="utf-8"))
        return {key: Seen(*values) for key, values in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # not there, or not ours: look again
        return {}


def _remember(memory: Path, found: dict[str, Seen]) -> None:
    with suppress(OSError):  # a folder that cannot be written to: the next run looks again
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_text(memory, json.dumps(found))
