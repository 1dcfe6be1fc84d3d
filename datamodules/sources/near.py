"""Pictures that look alike: a perceptual hash of each, and the pairs of splits whose hashes are close.

Zauner's pHash (Implementation and Benchmarking of Perceptual Image Hash Functions, 2010) as the package ImageHash has
it. Chosen over the difference hash by measurement: on Fashion-MNIST at a distance of 4 it takes 15 times fewer pairs of
different clothes for copies, and misses fewer brightened ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

BITS = 64
FLAT = "flat"
"""In place of a hash, of a picture without contrast: all such would look alike."""
LEAST_CONTRAST = 16  # of 255, between the darkest and the lightest of 32 x 32 pixels: below, noise decides
BLOCK = 4_000_000  # pairs that are compared at once
MOST_PAIRS = 10_000  # that are listed; all are counted

_k = np.arange(32)
_COSINES = np.cos(np.pi * np.arange(8)[:, None] * (2 * _k + 1) / 64)  # (8, 32), the low frequencies of a DCT-II


class Pair(NamedTuple):
    """Two places in the list of files, of different splits, and the bits in which their hashes differ."""

    distance: int
    first: int
    second: int


def perceptual_hash(picture: torch.Tensor) -> str:
    """Return 16 hexadecimal digits that change little when a picture is resized, recompressed or brightened.

    Args:
        picture: uint8 ``(3, H, W)``.
    """
    image = Image.fromarray(picture.permute(1, 2, 0).numpy()).convert("L")
    pixels = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float64)
    if np.ptp(pixels) < LEAST_CONTRAST:
        return FLAT
    waves = _COSINES @ pixels @ _COSINES.T  # (8, 8)
    return np.packbits(waves > np.median(waves)).tobytes().hex()


def near_pairs(hashes: Sequence[str], splits: Sequence[str], *, most: int) -> tuple[int, list[Pair]]:
    """Return how many pairs of different splits differ in at most ``most`` bits, and the nearest of those.

    Every pair is compared: a hash is 64 numbers of -1 and 1, and a product of matrices says in how many two differ.
    100,000 pictures, a fifth of them held out, take about 10 s of one core.

    Args:
        hashes: as `perceptual_hash` gives them; other texts are passed over.
        splits: of each.
        most: bits, 0 to 64.
    """
    by_split: dict[str, list[int]] = {}
    for index, (text, split) in enumerate(zip(hashes, splits, strict=True)):
        if len(text) == BITS // 4:
            by_split.setdefault(split, []).append(index)
    members = [np.array(indices) for indices in by_split.values()]
    signs = [_signs([hashes[index] for index in indices]) for indices in by_split.values()]
    count, found = 0, list[Pair]()
    for one in range(len(members)):
        for other in range(one + 1, len(members)):
            rows = max(1, BLOCK // len(members[other]))
            for start in range(0, len(members[one]), rows):
                distances = (BITS - signs[one][start : start + rows] @ signs[other].T) / 2
                first, second = np.nonzero(distances <= most)
                count += len(first)
                near = distances[first, second].astype(int)
                kept = near.argsort(kind="stable")[:MOST_PAIRS]
                places = members[one][start + first[kept]], members[other][second[kept]]
                found += map(Pair, near[kept].tolist(), places[0].tolist(), places[1].tolist())
                found = sorted(found)[:MOST_PAIRS]
    return count, found


def _signs(hashes: Sequence[str]) -> np.ndarray:
    """Return float32 ``(N, 64)`` of -1 and 1."""
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(-1, BITS // 8)
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
