"""Lines of a recipe that are named by albumentations' classes, checked by its source: importing it takes a second."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from settings.errors import nearest, unknown

_CLASS = re.compile(r"^class (\w+)\(([^)]*)\)", re.MULTILINE)


def mistakes(name: str, given: Mapping[str, Any]) -> Iterator[tuple[str | None, str]]:
    """Yield (argument or None for the line itself, what is wrong)."""
    if name not in _classes():
        yield None, f": {unknown('albumentations operation', name, _classes())}"
        return
    known = arguments(name)
    for key, value in given.items():
        if key not in known:
            close = nearest(key, known) or known
            yield key, f": {name} has no argument {key!r}; nearest: {', '.join(close[:6])}"
        elif key == "p" and isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value <= 1:
            yield key, f"={value}: must be from 0 to 1"


def arguments(name: str) -> list[str]:
    """The arguments of a class's constructor, its own or the one it inherits."""
    file, bases = _classes()[name]
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    return [arg.arg for arg in [*part.args.args[1:], *part.args.kwonlyargs]]
    return next((arguments(base) for base in bases if base in _classes()), [])


@cache
def _classes() -> dict[str, tuple[Path, list[str]]]:
    """Class -> its file and base classes."""
    spec = importlib.util.find_spec("albumentations")
    if spec is None or not spec.submodule_search_locations:
        return {}
    found = {}
    for file in sorted(Path(spec.submodule_search_locations[0]).rglob("*.py")):
        for name, bases in _CLASS.findall(file.read_text(encoding="utf-8")):
            found[name] = file, [base.strip() for base in bases.split(",")]
    return found
