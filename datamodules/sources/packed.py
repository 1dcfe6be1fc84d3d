"""Many strings in two arrays.

A list of a million Python strings grows in every loader worker, because counting references to them writes into
memory that was shared until then; arrays stay shared (51 to 56 MiB a worker at 300,000 names).
"""

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class PackedStrings(Sequence[str]):
    """A read-only sequence of strings: their UTF-8 bytes end to end, and where each ends.

    Args:
        data: uint8, all bytes.
        ends: int64 ``(N,)``, the position behind each string.
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        self._data = data
        self._ends = ends

    @classmethod
    def pack(cls, strings: Iterable[str]) -> "PackedStrings":
        """Take the strings over."""
        encoded = [text.encode() for text in strings]
        ends = np.cumsum([len(one) for one in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "PackedStrings": ...
    def __getitem__(self, index: int | slice) -> "str | PackedStrings":
        """Return one string, or a packed part."""
        if isinstance(index, slice):
            return self.pack(self[i] for i in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index} of {len(self)} strings")
        index %= len(self)
        start = self._ends[index - 1] if index else 0
        return self._data[start : self._ends[index]].tobytes().decode()

    def take(self, indices: Iterable[int]) -> "PackedStrings":
        """Return the strings at ``indices``, in that order."""
        return self.pack(self[i] for i in indices)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]
