"""Which tensor of a file belongs to which of a net: by name, or by order where the names are another project's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from models.inputs import adapt_weight

ROLES = ("weight", "bias", "running_mean", "running_var")
"""Last parts of names that mean the same everywhere: tensors of equal shape that must not change places."""


@dataclass(frozen=True, kw_only=True)
class WeightsReport:
    """What was taken from a file, what of the net stays random, and what of the file is not used.

    `taken` is the net's name -> the file's; `adapted` are those of them whose input channels were changed; `by_class`
    are those of the head whose rows were put in the order of today's classes, of which `new_classes` start at random.
    """

    origin: str
    taken: Mapping[str, str]
    fresh: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    by_order: bool = False
    by_class: tuple[str, ...] = ()
    new_classes: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def matched(self) -> int:
        """How many of the net's tensors come from the file."""
        return len(self.taken)

    def line(self) -> str:
        """Say it in one line."""
        said = f"weights from {self.origin}: {self.matched} tensors{' by order' if self.by_order else ''}"
        if self.adapted:
            said += f"; input channels adapted: {', '.join(self.adapted)}"
        said += f"; new at random: {', '.join(self.fresh)}" if self.fresh else "; the head too"
        if self.by_class:
            said += ", by the names of its classes"
            new = ", ".join(self.new_classes[:6]) + (", ..." if len(self.new_classes) > 6 else "")
            said += f"; new at random: class {new}" if new else ""
        if self.unused:
            said += f"; {len(self.unused)} of the file not used, such as {self.unused[0]}"
        return said

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Tensor of the net, its shape, tensor of the file, and what happened to it; then what is not used."""
        for name, shape in self.shapes.items():
            how = "adapted" if name in self.adapted else "taken" if name in self.taken else "as the net starts"
            how = "taken by class" if name in self.by_class else how
            yield name, "x".join(map(str, shape)), self.taken.get(name, ""), "new" if name in self.fresh else how
        for name in self.unused:
            yield "", "", name, "not used"


class Mismatch(Exception):
    """The first place where order does not help; the text names both tensors and shapes."""


def without_prefix(tensors: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Drop what a wrapper put before the net's names (`module.`, `model.`, `ema.module.`), and its other tensors.

    Of several copies of the net in one file the averaged one is taken, as timm does.
    """
    found: Counter[str] = Counter()
    for key in tensors:
        parts = key.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in own:
                found["".join(f"{part}." for part in parts[:cut])] += 1
    prefix = max(found, key=lambda one: (found[one], "ema" in one, -len(one)), default="")
    if not prefix:
        return dict(tensors)
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def match_by_order(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, head: Collection[str], first: str
) -> dict[str, str]:
    """Pair the net's tensors with the file's by their order: net's name -> file's name.

    Counters of batch norm take part if both sides have them all. The head may have another number of classes, or be
    missing from the file, or be another's altogether: then the file's last layer is left. The first layer may have
    other input channels.

    Args:
        own: the net's state.
        tensors: the file's, in the order in which they were saved.
        head: the net's names that belong to its head.
        first: name of the first layer's weight.

    Raises:
        Mismatch: another number of tensors, another shape, or another role (a mean where a variance stands).
    """
    mine, counters = _split_counters(own)
    theirs, their_counters = _split_counters(tensors)
    body = [name for name in mine if name not in head]
    if mine[: len(body)] == body:
        last = [tensors[name] for name in theirs[len(body) :]]
        if _is_layer(last) and not _is_same_head(last, [own[name] for name in mine[len(body) :]]):
            theirs = theirs[: len(body)]
    names = body if len(theirs) == len(body) else mine
    for index, (name, other) in enumerate(zip(names, theirs, strict=False)):
        have, want = tensors[other], own[name]
        fits = _fits(have, want, in_head=name in head) or (name == first and channels(have, want) is not None)
        if not fits or not _alike(name, other):
            raise Mismatch(
                f"tensor {index + 1} is {other} {tuple(have.shape)} in the file "
                f"and {name} {tuple(want.shape)} in the net"
            )
    if len(names) != len(theirs):
        raise Mismatch(f"the file has {len(theirs)} tensors and the net {len(names)}, counters left out")
    pairs = dict(zip(names, theirs, strict=True))
    if len(counters) == len(their_counters):
        pairs |= dict(zip(counters, their_counters, strict=True))
    return {name: pairs[name] for name in own if name in pairs}


def _is_layer(tensors: Sequence[Tensor]) -> bool:
    """Are these one layer's weight, and perhaps its bias?"""
    shapes = [tensor.shape for tensor in tensors]
    return len(shapes) in (1, 2) and len(shapes[0]) >= 2 and all(shape == shapes[0][:1] for shape in shapes[1:])


def _is_same_head(have: Sequence[Tensor], want: Sequence[Tensor]) -> bool:
    """Do they differ in nothing but the number of classes?"""
    return len(have) == len(want) and all(_fits(*pair, in_head=True) for pair in zip(have, want, strict=True))


def channels(weight: Tensor, like: Tensor) -> tuple[int, int] | None:
    """(have, want) channels of two first layers that differ in nothing else, one of the two being 1; else None."""
    have, want = weight.shape[1] if weight.ndim > 1 else 0, like.shape[1] if like.ndim > 1 else 0
    alike = weight.ndim == like.ndim and weight.shape[0] == like.shape[0] and weight.shape[2:] == like.shape[2:]
    if weight.ndim == 2 and have and want:  # dense on flattened images: only the ratio of the channels is known
        divisor = math.gcd(have, want)
        have, want = have // divisor, want // divisor
    return (have, want) if alike and {have, want} == {1, 3} else None


def adapted(weight: Tensor, like: Tensor) -> Tensor:
    """Adapt a first layer's weight where the two differ in the number of channels alone; else leave it."""
    ratio = channels(weight, like)
    return weight if ratio is None else adapt_weight(weight.to(like.dtype), have=ratio[0], want=ratio[1])


def _split_counters(tensors: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Names of tensors with values, and of batch norm's counters (which old files lack)."""
    counters = [name for name, value in tensors.items() if value.ndim == 0 and not value.is_floating_point()]
    return [name for name in tensors if name not in set(counters)], counters


def _fits(have: Tensor, want: Tensor, *, in_head: bool) -> bool:
    return have.shape == want.shape or (in_head and have.ndim == want.ndim and have.shape[1:] == want.shape[1:])


def _alike(name: str, other: str) -> bool:
    """Whether two names can mean the same: where both end in a known role, it is the same one."""
    roles = name.rpartition(".")[2], other.rpartition(".")[2]
    return roles[0] == roles[1] or not set(roles) <= set(ROLES)
