"""Keyed randomness: every draw is a function of what it is for, never of what was drawn before.

The order of an epoch is a function of (seed, epoch), augmentation and dropout of (seed, batch count, rank).
So a run that was stopped anywhere and goes on sees the same batches as one that was not.
"""

import hashlib

import torch


def key(*parts: int | str) -> int:
    """Hash ``parts`` to a 63-bit number, the same in every process and on every machine.

    Each part is written with its type and length, so that ("a", "bc") and ("ab", "c"), or 1 and "1", differ.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        kind, text = ("s", part.encode()) if isinstance(part, str) else ("i", str(int(part)).encode())
        digest.update(f"{kind}{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest(), "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """Return a CPU generator that is seeded by ``key(*parts)``.

    torch's CPU generator uses the low 32 bits of a seed: among 10,000 keys two share a stream with a chance
    of 1 %.
    """
    return torch.Generator().manual_seed(key(*parts))


def permutation(n: int, *, seed: int, epoch: int) -> torch.Tensor:
    """Return the order of epoch ``epoch``: int64 ``(n,)``, each of ``0 .. n - 1`` once."""
    return torch.randperm(n, generator=generator(seed, "epoch", epoch))
