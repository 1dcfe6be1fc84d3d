"""Reads a YAML file of the configuration with suspicion, before Hydra does.

Hydra hangs on nested aliases for most of a minute, and resolves `${oc.env:...}` into what is logged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from settings import stored_files
from settings.errors import UserError
from settings.paths import CONFIGS

FOLDER = CONFIGS
MOST_BYTES = 1_000_000
MOST_DEPTH = 20
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
INTERPOLATION = re.compile(r"\$\{")

Keys = tuple[str, ...]


@dataclass
class Document:
    """A file's content as plain values, the line of each key, and what is wrong with it."""

    name: str
    content: dict[str, Any] = field(default_factory=dict)
    lines: dict[Keys, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, keys: Keys) -> str:
        """`experiment/mine.yaml:12`, the line of the longest part of `keys` that the file has."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return f"{self.name}:{self.lines[keys]}" if keys else self.name


def read(path: Path, name: str) -> Document:
    """Read one file; all that is wrong with it stands in `problems`, and `content` is empty then.

    Args:
        path: the file.
        name: how messages call it.
    """
    return _parsed(path.read_bytes, name)


def read_stored(folder: Path, name: str) -> Document:
    """Read a run folder's config.yaml, which may come from anywhere; see `stored_files`."""
    return _parsed(lambda: stored_files.read_bytes(folder, "config.yaml", most=MOST_BYTES), name)


def _parsed(content: Callable[[], bytes], name: str) -> Document:
    document = Document(name)
    try:
        data = content()
    except UserError as error:
        document.problems.append(f"{name}: {error}")
        return document
    except OSError as error:
        document.problems.append(f"{name}: cannot be read ({error.strerror})")
        return document
    if len(data) > MOST_BYTES:
        document.problems.append(f"{name}: {len(data)} bytes are too many for a configuration file")
        return document
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        document.problems.append(f"{name}: is not text in UTF-8; is it a YAML file?")
        return document
    try:
        document.problems += [f"{name}:{line}: {problem}" for line, problem in _suspicious(text)]
        if document.problems:
            return document
        node = yaml.compose(text, Loader=LOADER)
        if node is None:
            return document
        if not isinstance(node, yaml.MappingNode):
            document.problems.append(f"{name}: must be a mapping of keys to values")
            return document
        document.problems += [f"{name}:{line}: {problem}" for line, problem in _keys(node, (), document.lines)]
        if not document.problems:
            document.content = yaml.load(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        place = f"{name}:{error.problem_mark.line + 1}" if error.problem_mark else name
        document.problems.append(f"{place}: is not valid YAML: {error.problem or error.context}")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        document.problems.append(f"{name}: is not valid YAML: {' '.join(str(error).split())[:120]}")
    return document


def _suspicious(text: str) -> Iterator[tuple[int, str]]:
    """What can be seen in the stream of events, before anything is built; at most one finding."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=LOADER):
        line = getattr(event, "start_mark").line + 1  # noqa: B009 (the stubs say it may be None)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            yield line, "anchors and aliases (&name, *name) are not taken; write the value out"
            return
        if getattr(event, "tag", None):
            yield line, f"tags ({getattr(event, 'tag', None)}) are not taken; write plain values"
            return
        if depth > MOST_DEPTH or documents > 1:
            yield line, "is nested too deeply" if depth > MOST_DEPTH else "holds more than one document (---)"
            return
        if isinstance(event, yaml.ScalarEvent) and INTERPOLATION.search(event.value):
            yield line, f"interpolations ({event.value[:40]}) are not taken; write the value out"
            return


def _keys(node: yaml.Node, above: Keys, lines: dict[Keys, int]) -> Iterator[tuple[int, str]]:
    """Note the line of each key; yield keys that stand twice or are no names."""
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _keys(entry, above, {})
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            yield line, "a key must be a name"
            continue
        if key.value in seen:
            yield line, f"the key {'.'.join((*above, key.value))} stands twice"
        seen.add(key.value)
        lines[(*above, key.value)] = line
        yield from _keys(value, (*above, key.value), lines)


def is_file(path: Path) -> bool:
    """Whether there is such a file; no for a name that no file could have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def groups() -> list[str]:
    """The folders that hold choices: data, model, optimizer, ..."""
    return sorted(path.name for path in FOLDER.iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def choices(group: str) -> list[str]:
    """The files of a group, without `.yaml`."""
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))
