"""Ranges as they stand in a signature: the note of `Annotated[float, "0 <= x < 1"]`; standard library only."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping

_NOTE = re.compile(r"(?:(?P<low>\S+) (?P<above><=?) )?x(?: (?P<sign><=?|>=?) (?P<limit>\S+))?")
_NAMES = {">": "gt", ">=": "ge", "<": "lt", "<=": "le"}
_TEST = {"gt": operator.gt, "ge": operator.ge, "lt": operator.lt, "le": operator.le}
_WORDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def read_limits(note: object) -> dict[str, float] | None:
    """`"0 <= x < 1"` as pydantic's names, {"ge": 0, "lt": 1}; None of a note that is no range."""
    found = _NOTE.fullmatch(note) if isinstance(note, str) else None
    if found is None:
        return None
    limits: dict[str, float] = {}
    for sign, limit in ((found["above"] or "").replace("<", ">"), found["low"]), (found["sign"], found["limit"]):
        if limit is not None:
            number = float(limit)
            limits[_NAMES[sign]] = int(number) if number.is_integer() else number
    return limits


def within(value: float, limits: Mapping[str, float]) -> bool:
    """Whether the value keeps all limits."""
    return all(_TEST[name](value, limit) for name, limit in limits.items())


def describe(limits: Mapping[str, float]) -> str:
    """`from 1 to 1000`, `above 0`, `above 0 and at most 1`."""
    if list(limits) == ["ge", "le"]:
        return f"from {limits['ge']} to {limits['le']}"
    return " and ".join(f"{_WORDS[name]} {limit}" for name, limit in limits.items())
