"""What a folder or a CSV file says of its images: which files, with which label, in which split; and how names compare.

Names are compared in Unicode's composed form, in which they are kept as labels; a file keeps the spelling by which it
is opened.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from settings.paths import nfc

PLAIN_SPLITS = {"train": "train", **dict.fromkeys(("val", "valid", "validation"), "val"), "test": "test"}
"""Names, in any case, that always mean a split."""
_SPLITS = {**PLAIN_SPLITS, "training": "train", "dev": "val", "testing": "test"}
_BESIDE = "(?:sets?|images?|imgs?|pictures?|pics|photos?|data|dataset|samples|files|folder|split)"
_SPLIT_NAME = re.compile(rf"(?:{_BESIDE}[\W_]*)?({'|'.join(_SPLITS)})(?:[\W_]*(?:{_BESIDE}|[0-9]{{4}}))*")


def split_of(name: str) -> str | None:
    """The split that a name means: `Training`, `train_images`, `test set`, `val2017`; None where it means none."""
    found = _SPLIT_NAME.fullmatch(nfc(name).casefold().strip())
    return _SPLITS[found[1]] if found else None


@dataclass
class Listing:
    """Files in their order, as parallel columns.

    Attributes:
        keys: path of each, relative to the folder.
        labels: class name of each, in NFC.
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
        self.labels.append(nfc(label))
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


def summary(left_out: Iterable[tuple[str, str]]) -> str:
    """Say how many were left out for each reason, with up to three names: `2 .heic (a.heic, b.heic)`."""
    reasons: dict[str, list[str]] = {}
    for key, reason in left_out:
        reasons.setdefault(reason, []).append(key)
    return ", ".join(
        f"{len(keys)} {reason} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for reason, keys in reasons.items()
    )


def natural(name: str) -> tuple[list[str | int], str, str]:
    """Sort key that puts "2" before "10"; small and capital letters stand together, as do Unicode's forms."""
    composed = nfc(name)
    parts = re.split(r"([0-9]+)", composed)
    return [int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)], composed, name


def matched(pattern: re.Pattern[str], text: str, name: str) -> str | None:
    """Return what the group called ``name``, else the first group, finds in ``text``; None where nothing is."""
    found = pattern.search(nfc(text))
    if found is None:
        return None
    return (found[name] if name in pattern.groupindex else found[1]) or None


def label_set(label: str) -> list[str]:
    """The labels of `a|b`, each once; none of an empty text."""
    return list(dict.fromkeys(part.strip() for part in label.split("|") if part.strip()))


def alike(name: str) -> float | str:
    """What names share that a person would take for one: `x` and `X`, `1` and `1.0`, `t-shirt` and `T shirt`."""
    try:
        return float(name)
    except ValueError:
        plain = unicodedata.normalize("NFKC", name).casefold()
        return re.sub(r"[\s_-]+", " ", plain).strip() or name


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that a person would take for one."""
    groups: dict[float | str, list[str]] = {}
    for name in names:
        groups.setdefault(alike(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]
