"""Keys that one script has beside those of `train.py`: readers of their values, and the splitting of a command line.

Standard library only until a command line is split, so that help comes at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from settings.errors import nearest, unknown


class Key(NamedTuple):
    """One key of a script.

    Attributes:
        meaning: for the help page, with the default in brackets.
        read: turns the text into a value, or raises ValueError with what it must be.
        default: the value where the key is not given.
    """

    meaning: str
    read: Callable[[str], Any]
    default: Any = None


def whole(least: int, most: int = 10**9) -> Callable[[str], int]:
    """A reader of whole numbers; a limit from 10**9 on is not named in the message."""

    def read(text: str) -> int:
        # int() refuses thousands of digits, in words of its own
        if not text.isascii() or not text.isdigit() or len(text) > 12 or not least <= int(text) <= most:
            limit = f"from {least} to {most}" if most < 10**9 else f"of at least {least}"
            raise ValueError(f"must be a whole number {limit}")
        return int(text)

    return read


def positive(text: str) -> float:
    """A positive, finite number."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ValueError("must be a number above 0")
    return value


def share(text: str) -> float:
    """A number above 0, at most 1."""
    value = positive(text)
    if value > 1:
        raise ValueError("must be a share above 0, at most 1")
    return value


def _number(text: str) -> float:
    """A number, or a fraction such as 8/255."""
    if not re.fullmatch(r"[0-9.]+([eE][+-]?[0-9]+)?(/[0-9.]+)?", text):
        raise ValueError("must be a number")
    over, _, under = text.partition("/")
    try:
        return float(over) / float(under or 1)
    except (ValueError, ArithmeticError):
        raise ValueError("must be a number") from None


def between(low: float, high: float) -> Callable[[str], float]:
    """A reader of numbers and fractions above `low`, at most `high`."""

    def read(text: str) -> float:
        value = _number(text)
        if not low < value <= high:
            raise ValueError(f"must be a number above {low:g} and at most {high:g}")
        return value

    return read


def several(low: float, high: float) -> Callable[[str], tuple[float, ...]]:
    """A reader of numbers and fractions from `low` to `high`, comma-separated; none twice."""

    def read(text: str) -> tuple[float, ...]:
        values = tuple(_number(part.strip()) for part in text.strip("[]").split(","))
        if not all(low <= value <= high for value in values) or len(set(values)) < len(values):
            raise ValueError(f"must be different numbers from {low:g} to {high:g}, with commas between them")
        return values

    return read


def one_of(kind: str, choices: Collection[str]) -> Callable[[str], str]:
    """A reader of names, with the nearest ones where there is no such `kind`."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(unknown(kind, text, choices))
        return text

    return read


def switch(text: str) -> bool:
    """True or false."""
    if text.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return text.lower() == "true"


def split_words(
    words: Sequence[str], own: Collection[str], elsewhere: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str], list[str]]:
    """Split a command line: the script's own keys, overrides of the configuration, mistyped keys of its own.

    Args:
        words: the command line.
        own: names of the script's own keys.
        elsewhere: keys that do not fit here -> what is wrong with them.
    """
    from settings.reading.files import groups
    from settings.schema.habits import habit
    from settings.schema.run_config import Settings

    given: dict[str, str] = {}
    rest: list[str] = []
    wrong: list[str] = []
    for text in words:
        key, equals, value = text.partition("=")
        known = key in Settings.model_fields or key in groups() or habit(key) is not None
        close = nearest(key, own) if equals and not known and "." not in key else []
        if equals and key in own:
            given[key] = value
        elif equals and elsewhere and key in elsewhere:
            wrong.append(f"command line: {elsewhere[key]}")
        elif close:
            wrong.append(f"command line: unknown key {key}; nearest: {', '.join(close)}")
        else:
            rest.append(text)
    return given, rest, wrong
