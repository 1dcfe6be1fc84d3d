"""Stratified splits by the hash of the file key: the order in which files were listed makes no difference.

Within each class the files are put in the order of a keyed hash and the first ones are taken. A new file
can move at most one old file of its class over the border; all others stay where they are.
"""

from collections.abc import Sequence

import numpy as np
import torch

from datamodules.randomness import key
from settings.errors import UserError
from settings.paths import nfc


def assign(keys: Sequence[str], targets: torch.Tensor, fraction: float, split_seed: int) -> torch.Tensor:
    """Choose ``fraction`` of each class, rounded, for a held-out set; at least one image of a class stays.

    Args:
        keys: one unique key an image.
        targets: int64 ``(N,)``.
        fraction: share of each class, in [0, 1].
        split_seed: the only seed that moves the choice.

    Returns:
        bool ``(N,)``, true where an image is held out.
    """
    chosen = torch.zeros(len(keys), dtype=torch.bool)
    for members in _classes_in_hash_order(keys, targets, "held out", split_seed):
        count = min(_rounded(fraction * len(members)), len(members) - 1)
        chosen[members[:count]] = True
    return chosen


def subset(
    keys: Sequence[str],
    targets: torch.Tensor,
    *,
    fraction: float = 1.0,
    per_class: int | None = None,
    split_seed: int = 0,
    class_names: Sequence[str] = (),
) -> torch.Tensor:
    """Choose ``fraction`` of each class (rounded, at least one image), or ``per_class`` images of each.

    Subsets are nested: the smaller of two with the same ``split_seed`` is contained in the larger.

    Returns:
        bool ``(N,)``, true where an image is kept.

    Raises:
        UserError: ``per_class`` is larger than a class, or both ways to cut are asked for.
    """
    if per_class is not None and fraction != 1:
        raise UserError(
            f"data.fraction={fraction} and data.per_class={per_class} both cut the training images: set one"
        )
    kept = torch.zeros(len(keys), dtype=torch.bool)
    for members in _classes_in_hash_order(keys, targets, "subset", split_seed):
        count = max(1, _rounded(fraction * len(members)))
        if per_class is not None:
            if per_class > len(members):
                label = int(targets[members[0]])
                name = class_names[label] if class_names else str(label)
                raise UserError(
                    f"data.per_class={per_class} is more than class {name!r} has: "
                    f"{len(members)} training images. Take at most {_smallest_class(targets)}."
                )
            count = per_class
        kept[members[:count]] = True
    return kept


def sample(keys: Sequence[str], targets: torch.Tensor, count: int, split_seed: int) -> torch.Tensor:
    """Choose ``count`` test images, each class with its share; what rounding leaves goes to the largest remainders.

    Returns:
        int64 ``(count,)``: their indices, ascending.

    Raises:
        UserError: there are fewer images than that.
    """
    if count > len(keys):
        raise UserError(f"data.test_images={count}: there are {len(keys)} test images")
    classes = _classes_in_hash_order(keys, targets, "test subset", split_seed)
    exact = [count * len(members) / len(keys) for members in classes]
    quotas = [int(share) for share in exact]
    by_remainder = sorted(range(len(classes)), key=lambda index: (quotas[index] - exact[index], index))
    for index in by_remainder[: count - sum(quotas)]:
        quotas[index] += 1
    return torch.cat([members[:quota] for members, quota in zip(classes, quotas, strict=True)]).sort().values


def hash_order(keys: Sequence[str], purpose: str, split_seed: int) -> torch.Tensor:
    """Return int64 ``(N,)``: the indices of ``keys`` in the order of their keyed hash."""
    hashes = np.array([key(split_seed, purpose, nfc(name)) for name in keys], dtype=np.int64)
    return torch.from_numpy(np.argsort(hashes, kind="stable"))


def _classes_in_hash_order(
    keys: Sequence[str], targets: torch.Tensor, purpose: str, split_seed: int
) -> list[torch.Tensor]:
    order = hash_order(keys, purpose, split_seed)
    return [order[targets[order] == label] for label in targets.unique().tolist()]


def _rounded(value: float) -> int:
    """Round half up: Python's own rounding takes 2.5 to 2 and 3.5 to 4."""
    return int(value + 0.5)


def _smallest_class(targets: torch.Tensor) -> int:
    return int(targets.unique(return_counts=True)[1].min())


def threshold(
    units: Sequence[str], targets: torch.Tensor, shares: Sequence[tuple[str, float]], split_seed: int
) -> list[str]:
    """Put each image by the hash of its unit alone: a new file never moves an old one.

    A class with at least three units has one in every split, one with fewer has one in training: where the hashes give
    none, the unit that is nearest to the split moves. Only there, in classes of a few images, can a new file move an
    old one.

    Args:
        units: what must not be torn apart: the file's key, or a group's.
        targets: int64 ``(N,)``.
        shares: (split, share) of those cut off; "train" gets the rest.
        split_seed: the only seed that moves anything.

    Returns:
        The split of each image.
    """
    position = {unit: key(split_seed, "threshold", unit) / 2**63 for unit in dict.fromkeys(units)}
    names = [name for name, _ in shares] + ["train"]
    ends = np.cumsum([share for _, share in shares] + [1.0])
    chosen = {unit: names[int((where >= ends[:-1]).sum())] for unit, where in position.items()}
    members: dict[int, dict[str, None]] = {}
    for unit, target in zip(units, targets.tolist(), strict=True):
        members.setdefault(target, {})[unit] = None
    for own in members.values():
        for index, name in enumerate(names):
            if len(own) < len(names) and name != "train":
                continue
            taken = [chosen[unit] for unit in own]
            if name not in taken:
                middle = (float(ends[index - 1]) if index else 0.0) / 2 + float(ends[index]) / 2
                spare = [unit for unit in own if taken.count(chosen[unit]) > 1 or len(own) < len(names)]
                chosen[min(spare, key=lambda unit: (abs(position[unit] - middle), unit))] = name
    return [chosen[unit] for unit in units]
