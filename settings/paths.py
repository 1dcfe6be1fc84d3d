"""Where the project's own files lie, and how names of files are compared; standard library only."""

import os
import unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"


def nfc(name: str) -> str:
    """A name in Unicode's composed form, in which names are compared: macOS writes `é` as `e` and an accent."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def as_on_disk(path: Path) -> Path:
    """The path with each name in the Unicode form that it has on the disk; as it is where nothing like it is there."""
    if str(path).isascii() or os.path.lexists(path):
        return path
    found = Path(path.anchor)
    for name in path.parts[1 if path.anchor else 0 :]:
        if not os.path.lexists(found / name):
            try:
                name = next(one.name for one in found.iterdir() if nfc(one.name) == nfc(name))
            except (OSError, StopIteration):
                return path
        found /= name
    return found
