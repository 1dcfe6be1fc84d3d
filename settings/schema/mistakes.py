"""Turns what pydantic found into one line a key, in the words of someone who reads a configuration."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from settings.errors import nearest

EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "list_type": "a list such as [a, b]",
    "dict_type": "a mapping such as {key: value}",
    "model_type": "a mapping such as {key: value}",
    "model_attributes_type": "a mapping such as {key: value}",
    "none_required": "null",
    "is_instance_of": "a path",
    "string_pattern_mismatch": "a time such as 00:01:30:00 (days:hours:minutes:seconds)",
}
BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
LONGEST_LIST = 160  # characters
_PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)[A-Za-z_/~][\w./:+\-]*")


def show(value: Any) -> str:
    """A value as YAML would have it, cut to a readable length; text that looks like a number is quoted."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}: {show(one)}" for key, one in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(show(one) for one in value) + "]"
    elif isinstance(value, str):
        text = value if _PLAIN.fullmatch(value) else repr(value)
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def expectation(error: Mapping[str, Any]) -> str:
    """What one of pydantic's errors asks for: "a whole number", "at least 1", "one of adam, sgd"."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in BOUNDS:
        bound, words = BOUNDS[kind]
        return f"{words} {context[bound]:g}"
    if kind == "literal_error":
        choices = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"one of {', '.join(dict.fromkeys(choices))}"
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    if kind in ("too_short", "too_long"):
        count = context.get("min_length", context.get("max_length"))
        return f"a list of {'at least' if kind == 'too_short' else 'at most'} {count}"
    if kind == "union_tag_invalid":
        return f"one of {context['expected_tags']}".replace("'", "")
    return EXPECTED.get(kind, error["msg"])


def follow(location: Sequence[str | int], raw: Any) -> tuple[str, ...]:
    """The key that a pydantic location stands for, without the names of union branches, which `raw` lacks."""
    keys: list[str] = []
    for part in location:
        here = isinstance(raw, Mapping) and part in raw
        if here or (isinstance(raw, list) and isinstance(part, int) and part < len(raw)):
            raw = raw[part]
        else:
            continue
        keys.append(str(part))
    return tuple(keys)


def value_at(keys: Iterable[str], raw: Any) -> Any:
    """The value under a key of `follow`."""
    for key in keys:
        raw = raw[int(key)] if isinstance(raw, list) else raw[key]
    return raw


def wrong_values(errors: Iterable[Mapping[str, Any]], raw: Any) -> dict[tuple[str, ...], str]:
    """One text a key for all errors but unknown and missing keys: `=0: must be at least 1`."""
    wanted: dict[tuple[str, ...], list[str]] = {}
    for error in errors:
        if error["type"] in ("extra_forbidden", "missing"):
            continue
        wanted.setdefault(follow(error["loc"], raw), []).append(_with_hint(error))
    return {
        keys: f"={show(value_at(keys, raw))}: {needed(texts, value_at(keys, raw))}" for keys, texts in wanted.items()
    }


def _with_hint(error: Mapping[str, Any]) -> str:
    said = expectation(error)
    given = error["input"]
    if not said.startswith("one of ") or not isinstance(given, str):
        return said
    choices = said.removeprefix("one of ").split(", ")
    close = nearest(given, choices, n=2)
    if close and len(said) > LONGEST_LIST:
        return f"one of {', '.join(close)}, ... (nearest: {close[0]})"
    return f"{said} (nearest: {close[0]})" if close else said


def needed(texts: Iterable[str], value: Any) -> str:
    """Alternatives of a union in one sentence; a bound (`at least 1`) says more than a bare kind."""
    texts = list(dict.fromkeys(texts))
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if isinstance(value, int | float) and not isinstance(value, bool):
        bounds = [text for text in texts if text.startswith(("at least", "at most", "more than", "less than", "from "))]
        texts = bounds or texts
    if texts[0].startswith("must"):
        return " or ".join(texts)
    return f"must be {' or '.join(texts)}"
