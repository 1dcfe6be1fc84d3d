"""What is said about a key that does not exist: the key that was meant, by habit or by likeness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from settings.errors import nearest
from settings.reading import files
from settings.schema.habits import habit
from settings.schema.run_config import NOT_TRAINER_ARGUMENTS, all_keys

MOST_LISTED = 25


def unknown_key(
    keys: Sequence[str], *, siblings: Iterable[str] | None = None, choice: str | None = None, at: int = -1
) -> str:
    """`unknown key optimizer.lrr; nearest: optimizer.lr`.

    Args:
        keys: the key as it was typed, part by part.
        siblings: names that its wrong part could have had; None means those of the schema.
        choice: what is chosen in the key's group, if the key is one of another choice.
        at: where the wrong part stands, if `siblings` are given.
    """
    key = ".".join(keys)
    said = f"unknown key {key}"
    if keys[0] == "trainer" and keys[-1] in NOT_TRAINER_ARGUMENTS:
        return f"{said}: a run sets it itself; use {NOT_TRAINER_ARGUMENTS[keys[-1]]}"
    if choice is not None and key in _tree():
        having = [f"{keys[0]}={one}" for one in files.choices(keys[0]) if keys[1] in _content(keys[0], one)]
        return f"{said} of {keys[0]}={choice}" + (f"; it belongs to {', '.join(having)}" if having else "")
    known = habit(key)
    if known is not None and known.key != key and (len(keys) == 1 or ".".join(keys[:-1]) in _tree()):
        return f"{said}; write {known.key}{known.more}"
    close = _close(list(keys), None if siblings is None else list(siblings), at % len(keys))
    if close:
        return f"{said}; nearest: {', '.join(close[:3])}"
    there = list(siblings) if siblings is not None else list(_tree().get(".".join(keys[:-1]), {}))
    if not there:
        keys, at, there = keys[:1], 0, list(_tree()[""])
    above = ".".join([*keys[: at % len(keys)], ""])
    return f"{said}; there is: {', '.join(above + name for name in there[:MOST_LISTED])}" if there else said


def meant(name: str) -> str | None:
    """The key that a bare word stands for, if any."""
    known = habit(name)
    close = [known.key] if known else _close(name.split("."), None)
    return name if name in _tree() else next(iter(close), None)


def _close(keys: list[str], siblings: list[str] | None, at: int = -1) -> list[str]:
    """Keys that look like this one: its first wrong part set right, and the rest if it then exists."""
    tree = _tree()
    depth = 0
    while depth < len(keys) - 1 and ".".join(keys[: depth + 1]) in tree:
        depth += 1
    depth = depth if siblings is None else at
    above, wrong, tail = keys[:depth], keys[depth], keys[depth + 1 :]
    everywhere = tree.get(".".join(above), {})
    close = nearest(wrong, everywhere if siblings is None else siblings) or nearest(wrong, everywhere)
    found = [_completed([*above, name], tail) for name in close]
    known = habit(wrong)
    if not found and known is not None and tail:  # optim.lr
        found = [_completed([known.key], tail)]
    if not found:
        leaves: dict[str, list[str]] = {}
        for key in all_keys():
            leaves.setdefault(key.rpartition(".")[2], []).append(key)
        found = [key for leaf in nearest(keys[-1], leaves, n=2, cutoff=0.8) for key in leaves[leaf]]
    return list(dict.fromkeys(found))


def _completed(start: list[str], tail: list[str]) -> str:
    """`optimizer` and `lrr` make `optimizer.lr`; only `optimizer`, if nothing below it is near."""
    first = ".".join(start)
    key = ".".join([*start, *tail])
    if key in _tree():
        return key
    inner = _close([*first.split("."), *tail], None) if first in _tree() else []
    return next((one for one in inner if one.startswith(f"{first}.")), first)


@cache
def _tree() -> Mapping[str, dict[str, None]]:
    """Key -> names below it, for every key there is; "" holds the top."""
    tree: dict[str, dict[str, None]] = {"": {}}
    for key in [*all_keys(), *files.groups()]:
        tree.setdefault(key, {})
        above, _, name = key.rpartition(".")
        tree.setdefault(above, {})[name] = None
    return tree


@cache
def _content(group: str, choice: str) -> frozenset[str]:
    return frozenset(files.read(files.FOLDER / group / f"{choice}.yaml", choice).content)
