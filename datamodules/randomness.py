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


def balanced_order(targets: torch.Tensor, *, seed: int, epoch: int) -> torch.Tensor:
    """Return an order of epoch ``epoch`` in which all classes come equally often: int64, as long as ``targets``.

    Counts of classes differ by at most one draw, and so do those of two images of a class: a rare class is
    repeated, a frequent one is thinned out, by another draw in each epoch. Classes without images are passed over.

    Args:
        targets: int64 ``(n,)``.
        seed: of the draws.
        epoch: counted from 0.
    """
    draws = generator(seed, "balanced", epoch)
    labels = targets.unique()
    quotas = torch.full((len(labels),), len(targets) // max(1, len(labels)))
    quotas[torch.randperm(len(labels), generator=draws)[: len(targets) - int(quotas.sum())]] += 1
    drawn = []
    for label, quota in zip(labels.tolist(), quotas.tolist(), strict=True):
        members = (targets == label).nonzero()[:, 0]
        whole, rest = divmod(quota, len(members))
        extra = torch.randperm(len(members), generator=draws)[:rest]
        drawn += [members.repeat(whole), members[extra]]
    order = torch.cat(drawn) if drawn else targets
    return order[torch.randperm(len(order), generator=draws)]
