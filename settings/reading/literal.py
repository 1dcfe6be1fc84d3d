"""Reads the command line: `key=value` by Hydra's grammar, but paths and text as the shell hands them over.

`data.root=/media/Müller, 2024 [old]/a=b` is one path, also under -m; Hydra alone would refuse it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from settings.schema.mistakes import show
from settings.schema.unknown_key import meant
from settings.weight_files import ENDINGS, PACKAGE

MOST_JOBS = 10_000
_IDENTIFIERS = re.compile(r"[\w.\-]+(,[\w.\-]+)+")  # of model.name, which may be swept
_WEIGHT_SETS = re.compile(r"(none|default|[A-Z0-9]+_[A-Z0-9_]+)(,(none|default|[A-Z0-9]+_[A-Z0-9_]+))+")


@dataclass
class Line:
    """One argument of the command line: a key, and the values it takes in turn (one, unless under -m)."""

    text: str
    keys: tuple[str, ...]
    given: str  # what stands behind the =
    delete: bool = False
    is_group: bool = False
    values: list[Any] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The dotted key."""
        return ".".join(self.keys)


def split(arguments: Iterable[str], *, groups: Iterable[str]) -> tuple[list[Line], list[str]]:
    """Cut arguments at their first `=`; return lines without values, and what is wrong with the others."""
    groups = list(groups)
    lines: list[Line] = []
    wrong: list[str] = []
    rest = list(arguments)
    while rest:
        text = rest.pop(0)
        key, equals, given = text.partition("=")
        if text.startswith("-"):
            if not equals and rest and "=" not in rest[0] and not rest[0].startswith("-"):
                given = rest.pop(0)
            option = key.lstrip("-").replace("-", "_")
            wrong.append(f"{text}: options are written key=value: {meant(option) or option}={given or 'VALUE'}")
            continue
        delete, name = key.startswith("~"), key.lstrip("+~").strip()
        if not name or (not equals and not delete):
            wrong.append(f"{show(text)}: must be key=value{_hint(name)}")
        elif name == "hydra" or name.startswith(("hydra.", "hydra/")):
            wrong.append(f"{name}: Hydra's own settings are not taken; run folders lie under paths.runs")
        elif "@" in name:
            wrong.append(f"{name}: groups cannot be put under another name with @")
        elif delete and equals:
            wrong.append(f"{text}: write ~{name} without a value")
        elif name in groups and delete:
            choice = f"{name}=null" if name in ("experiment", "debug") else f"{name}=CHOICE"
            wrong.append(f"~{name}: a group always has a choice; write {choice}")
        else:
            lines.append(Line(text, tuple(name.split(".")), given, delete, is_group=name in groups))
    return lines, [f"command line: {one}" for one in wrong]


def _hint(name: str) -> str:
    key = meant(name) if name else None
    return f", such as {key}=VALUE" if key else ""


def is_literal(line: Line, *, is_text: bool, grid: bool) -> bool:
    """Whether the line's value is taken as it stands.

    Args:
        line: the line.
        is_text: whether the key holds a path or free text.
        grid: under -m, names of nets and of weight sets may be swept, and are identifiers without a comma.
    """
    if line.key == "model.name":
        return not (grid and _IDENTIFIERS.fullmatch(line.given))
    if line.key == "model.weights":
        return not (grid and _WEIGHT_SETS.fullmatch(line.given))
    return is_text


def literal(line: Line, *, is_path: bool) -> str | None:
    """The text itself; `null` is none, and a relative path starts at the working folder."""
    if line.given.lower() == "null":
        return None
    if line.key == "model.weights" and not line.given.startswith(PACKAGE):
        is_path = line.given.endswith(ENDINGS) or "/" in line.given
    home = line.given == "~" or line.given.startswith("~/")
    return str(Path.cwd() / line.given) if is_path and line.given.strip() and not home else line.given


def parse(line: Line, *, grid: bool) -> list[Any]:
    """The values of a line by Hydra's grammar: one, or several under -m (`a,b`, `choice(a,b)`, `range(1,5)`).

    Raises:
        ValueError: what is wrong with it, in one line.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override, QuotedString, ValueType
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_rule(f"x={line.given}", "override")
        if not override.is_sweep_override():
            values = [override.value()]
        elif override.value_type in (ValueType.GLOB_CHOICE_SWEEP, ValueType.INTERVAL_SWEEP):
            raise ValueError("write the values out; glob() and interval() are not taken")
        elif not grid:
            raise ValueError("several values make a grid: add -m, or write a list as [a,b]")
        else:
            some = list(itertools.islice(override.sweep_iterator(), MOST_JOBS + 1))
            if not 0 < len(some) <= MOST_JOBS:
                raise ValueError(f"makes {'no job' if not some else f'more than {MOST_JOBS} jobs'}")
            values = [
                Override._convert_value(one) if isinstance(one, QuotedString | list | dict) else one for one in some
            ]
    except (HydraException, ArithmeticError, RecursionError, TypeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ValueError(f"cannot be read ({reason}); quote text that holds special characters") from None
    if any("${" in text for value in values for text in _texts(value)):
        raise ValueError("interpolations such as ${...} are not taken; write the value out")
    return values


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(_texts, [*value, *value.values()]))
    elif isinstance(value, list):
        yield from itertools.chain.from_iterable(map(_texts, value))
