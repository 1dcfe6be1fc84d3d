"""Keys of a script: the fields of its job, each with type, range, default and meaning; the reader of their values.

The annotation is the schema. `copies: Annotated[int, "1 <= x <= 1000"] = key(4, "copies of each image")` is all that
help, checks and messages are made from. Annotations are read as types, so a file with jobs has no
`from __future__ import annotations`. Standard library only, so that help comes at once.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from settings.errors import nearest
from settings.ranges import broken, in_words

NEEDED: Any = object()
"""The default of a key that has to be given."""
_NOUNS = {int: "whole number", float: "number", str: "name", Path: "path"}
_NUMBER = re.compile(r"[+-]?[0-9.]+([eE][+-]?[0-9]{1,3})?(/[0-9.]+)?")


def key(
    default: Any,
    meaning: str,
    *,
    name: str | None = None,
    choices: Mapping[str, str] | None = None,
    read: Callable[[str], Any] | None = None,
    repeat: bool = False,
    shown: str = "",
) -> Any:
    """A field of a job that is a key of the command line.

    Args:
        default: its value where it is not given, or `NEEDED`.
        meaning: for the help page, which adds range and default.
        name: how it is typed, where that is no name of Python.
        choices: what it can be -> what that means; without meanings, write `Literal` in the annotation.
        read: turns the text into a value where the annotation does not say it all; raises ValueError with what it
            must be.
        repeat: whether it may be given several times; its values are put together.
        shown: the default as a person would write it.
    """
    metadata = {"meaning": meaning, "name": name, "choices": choices, "read": read, "repeat": repeat, "shown": shown}
    if default is NEEDED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def keys_of(job: type) -> dict[str, Key]:
    """Name -> key: those of the class itself, then those of its bases."""
    found = {field.name: field for field in dataclasses.fields(job) if "meaning" in field.metadata}
    names = (name for owner in job.__mro__ for name in inspect.get_annotations(owner) if name in found)
    keys = [Key(found[name]) for name in dict.fromkeys(names)]
    return {one.name: one for one in keys}


class Key:
    """One key, as its field says it."""

    def __init__(self, field: dataclasses.Field[Any]) -> None:
        """Take the field's annotation apart: list or not, null or not, choices, range, kind."""
        said = field.metadata
        self.field = field.name
        self.name: str = said["name"] or field.name
        self.meaning: str = said["meaning"]
        self.repeat: bool = said["repeat"]
        self.default = NEEDED if field.default is dataclasses.MISSING else field.default
        self.choices: Sequence[str] = tuple(said["choices"] or ())
        self._read, self._shown = said["read"], said["shown"]
        self._range = ""
        self._several = self._optional = False
        annotation: Any = field.type
        assert not isinstance(annotation, str), f"{field.name}: leave out `from __future__ import annotations`"
        while inside := typing.get_args(annotation):
            origin = typing.get_origin(annotation)
            if origin is typing.Annotated:
                self._range = next(filter(in_words, annotation.__metadata__), "")
            elif origin is typing.Literal:
                self.choices = inside
            self._several |= origin is tuple
            self._optional |= origin in (typing.Union, types.UnionType)
            annotation = inside[0]  # `| None` stands last
        self._kind = annotation if isinstance(annotation, type) else str

    def value(self, texts: Sequence[str]) -> Any:
        """The value of what was typed, once or (`repeat`) several times.

        Raises:
            ValueError: what is wrong with it, key and value included.
        """
        if len(texts) > 1 and not self.repeat:
            raise ValueError(f"{self.name} is given {len(texts)} times")
        values = []
        for text in texts:
            try:
                values.append(self._value(text))
            except ValueError as error:
                raise ValueError(f"{self.name}={text[:60]}: {error}") from None
        return tuple(one for value in values for one in value) if self.repeat else values[0]

    def wanted(self) -> str:
        """`a whole number from 1 to 1000`, `one of png, jpg`."""
        if self.choices:
            return f"{'one or more' if self._several else 'one'} of {', '.join(self.choices)}"
        if self._kind is bool:
            return "true or false"
        said = f"{_NOUNS[self._kind]}{'s' * self._several} {in_words(self._range) or ''}".strip()
        return f"different {said}, with commas between them" if self._several else f"a {said}"

    def help(self) -> str:
        """The meaning, with choices or range and default in brackets."""
        facts = [", ".join(self.choices) or (in_words(self._range) or "")]
        if self._shown or (self.default is not NEEDED and self.default not in (None, "", ())):
            facts.append(f"default {self._shown or _text(self.default)}")
        said = "; ".join(filter(None, facts))
        return f"{self.meaning} ({said})" if said else self.meaning

    def _value(self, text: str) -> Any:
        if not text.strip():
            raise ValueError("must not be empty" + (" (null means none)" if self._optional else ""))
        if "\0" in text:
            raise ValueError("must not hold a NUL")
        if self._optional and text.lower() == "null":
            return None
        if self._read:
            return (self._read(text),) if self.repeat else self._read(text)
        if not self._several:
            return self._one(text)
        parts = [text] if self._kind is Path else [part.strip() for part in text.strip("[]").split(",")]
        values = tuple(map(self._one, parts))
        if len(set(values)) < len(values):
            raise ValueError(f"must be {self.wanted()}")
        return values

    def _one(self, text: str) -> Any:
        if self.choices and text not in self.choices:
            close = nearest(text, self.choices, n=1)
            raise ValueError(f"must be {self.wanted()}" + (f" (nearest: {close[0]})" if close else ""))
        if self._kind is Path:
            return absolute(text)
        if self._kind is str:
            return text
        value = {"true": True, "false": False}.get(text.lower()) if self._kind is bool else _number(text, self._kind)
        if value is None or broken(self._range, value):
            raise ValueError(f"must be {self.wanted()}")
        return value


def absolute(text: str) -> Path:
    """A path of the command line: from the working folder on; `~` alone or before a slash is the home folder."""
    return Path.cwd() / (Path(text).expanduser() if text == "~" or text.startswith("~/") else text)


def file_mistakes(name: str, path: Path | None, endings: Sequence[str]) -> list[str]:
    """What is wrong with a file to write: its ending, or that it is a folder."""
    if path is not None and path.suffix.lower() not in endings:
        return [f"command line: {name}={path.name[:80]!r}: must be a file that ends in {' or '.join(endings)}"]
    if path is not None and path.is_dir():
        return [f"command line: {name}={path.name[:80]!r}: is a folder; name a file in it"]
    return []


def _number(text: str, kind: type) -> float | None:
    """A whole number, or a number or fraction such as 8/255; None where it is none."""
    if not text.isascii() or len(text) > 40:
        return None
    if kind is int:
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,12}", text) else None
    over, _, under = text.partition("/")
    try:
        value = float(over) / float(under or 1) if _NUMBER.fullmatch(text) else math.nan
    except (ValueError, ArithmeticError):
        return None
    return value if math.isfinite(value) else None


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
