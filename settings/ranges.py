"""What a constructor's annotation asks of a value: `Annotated[float, "0 <= x < 1"]`.

A note is Python about `x`, of three kinds: a range ("x >= 1", "0 <= x < 1"), a remainder ("x % 6 == 2"), or the
length of a list ("len(x) >= 1"; "len(set(x)) == 5" for five different entries). Any other text is no note.
"""

from __future__ import annotations

import operator
import re
from typing import Any

_RANGE = re.compile(r"(?:(?P<low>\S+) (?P<above><=?) )?x(?: (?P<sign><=?|>=?) (?P<limit>\S+))?")
_REMAINDER = re.compile(r"x % (?P<step>\d+) == (?P<rest>\d+)")
_LENGTH = re.compile(r"len\((?P<what>x|set\(x\))\) (?P<sign>==|>=) (?P<count>\d+)")
_WORDS = {">": "more than", ">=": "at least", "<": "less than", "<=": "at most"}
_HOLDS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq}


def broken(note: str, value: Any) -> str | None:
    """What the note asks for ("from 0 to 1"), if the value does not keep to it.

    Args:
        note: of an annotation.
        value: of the annotated type.
    """
    for pattern, rule in (_RANGE, _range), (_REMAINDER, _remainder), (_LENGTH, _length):
        if found := pattern.fullmatch(note):
            return rule(found, value)
    return None


def in_words(note: object) -> str | None:
    """The range that a note asks for ("from 0 to 1"); None of any other note."""
    found = limits(note)
    return _words(found) if found else None


def limits(note: object) -> list[tuple[str, float]]:
    """The limits of a range, `[(">=", 0), ("<", 1)]`; none of any other note."""
    found = _RANGE.fullmatch(note) if isinstance(note, str) else None
    if found is None:
        return []
    pairs = [((found["above"] or "").replace("<", ">"), found["low"]), (found["sign"], found["limit"])]
    return [(sign, float(limit)) for sign, limit in pairs if limit is not None]


def _words(limits: list[tuple[str, float]]) -> str:
    if [sign for sign, _ in limits] == [">=", "<="]:
        return f"from {limits[0][1]:.12g} to {limits[1][1]:.12g}"
    return " and ".join(f"{_WORDS[sign]} {limit:.12g}" for sign, limit in limits)


def _range(found: re.Match[str], value: float) -> str | None:
    wanted = limits(found[0])
    return None if all(_HOLDS[sign](value, limit) for sign, limit in wanted) else _words(wanted)


def _remainder(found: re.Match[str], value: int) -> str | None:
    step, rest = int(found["step"]), int(found["rest"])
    if value % step == rest:
        return None
    below = value - (value - rest) % step
    said = "odd" if (step, rest) == (2, 1) else f"{step}n + {rest}"
    return f"{said}, such as {below} or {below + step}"


def _length(found: re.Match[str], value: list[Any]) -> str | None:
    different = found["what"] != "x"
    if _HOLDS[found["sign"]](len(set(value) if different else value), int(found["count"])):
        return None
    return f"a list of {'at least ' * (found['sign'] == '>=')}{found['count']}{' different entries' * different}"
