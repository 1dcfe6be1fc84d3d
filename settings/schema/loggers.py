"""Loggers by name: ours, then Lightning's; found in source, nothing is imported.

Ours are the files `callbacks/loggers/NAME_logger.py`, each with a function `NAME_logger` or a class in CamelCase. Those
of `lightning.pytorch.loggers` go by their class's name (`CSVLogger`) or by its beginning (`mlflow`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from settings.errors import nearest
from settings.schema import signatures

MODULE = "lightning.pytorch.loggers"
ENDING = "_logger"
"""What the name of a logger's file ends with."""
FILLED_IN = frozenset({"run_folder", "run_id", "name", "config", "keep_until"})
"""What a run hands to a logger of ours whose signature has it."""
FOLDERS = frozenset({"save_dir", "root_dir"})
"""Where one of Lightning's writes to: the run folder, where nothing is said."""
NOT_TAKEN = frozenset({"log_model", "checkpoint_name", "log_graph"})
"""What Lightning's loggers take from Lightning's own checkpoint callback and from models that hold an example."""
INSTEAD = {
    "Logger": "a class of your own in callbacks/loggers/NAME_logger.py",
    "NeptuneLogger": "logger=wandb (its service has ended)",
    "TensorBoardLogger": "logger=tensorboard",
    "WandbLogger": "logger=wandb",
}
"""Those of Lightning's that cannot work here, or that ours stand for -> what to use in their place."""


class Found(NamedTuple):
    """Where a logger is defined, in which of `own` and `lightning`."""

    target: str
    source: str


def own() -> list[str]:
    """Our loggers: the files of callbacks/loggers that are named so."""
    files = (signatures.ROOT / "callbacks" / "loggers").glob(f"*{ENDING}.py")
    return sorted(path.stem.removesuffix(ENDING) for path in files)


@cache
def lightnings() -> dict[str, str]:
    """Lightning's loggers that can be named: the class's name and its beginning in small letters -> the class."""
    classes = [name for name in signatures.classes_of(MODULE) if name not in INSTEAD]
    return {**{name: name for name in classes}, **{_short(name): name for name in classes}}


def find(name: str) -> Found | None:
    """The logger of exactly this name; None if there is none."""
    if name in own():
        module = f"callbacks.loggers.{name}{ENDING}"
        function = f"{module}.{name}{ENDING}"
        kind = f"{module}.{name.title().replace('_', '')}Logger"
        return Found(function if signatures.is_function(function) else kind, "own")
    cls = lightnings().get(name)
    return Found(f"{MODULE}.{cls}", "lightning") if cls else None


def unknown(name: str) -> str:
    """Say that there is no such logger, and which come near or stand in its place."""
    for cls, use in INSTEAD.items():
        if name in (cls, _short(cls)):
            return f"logger {name!r:.60} does not work here; use {use}"
    close = nearest(name, [*own(), *lightnings()])
    if close:
        return f"unknown logger {name!r:.60}; nearest: {', '.join(close)}"
    return f"unknown logger {name!r:.60}; there is: {', '.join([*own(), *map(_short, lightnings().values())])}"


def parameters(found: Found) -> dict[str, signatures.Parameter]:
    """What a configuration may give to a logger; of one that takes anything (`**kwargs`) what it names.

    Raises:
        NotFoundInSource: the file does not hold the class or function that it is named after.
    """
    known = signatures.named(found.target)
    if found.source == "own":
        return {name: one for name, one in known.items() if name not in FILLED_IN}
    return {
        name: replace(one, required=one.required and name not in FOLDERS)
        for name, one in known.items()
        if name not in NOT_TAKEN
    }


def arguments(names: Iterable[str]) -> dict[str, signatures.Parameter]:
    """Keys of the section `logger` for the loggers that are there, each once."""
    known: dict[str, signatures.Parameter] = {}
    for found in (find(name) for name in names):
        known |= {key: one for key, one in (parameters(found) if found else {}).items() if key not in known}
    return known


def missing(found: Found) -> Iterator[str]:
    """How to install what a logger needs and is not there."""
    for package, install in _needed(found).items():
        if find_spec(package) is None:
            yield f"the package {package} is not installed: {install}"


def chosen(names: Iterable[str], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each logger that is named, as `_target_` with what it takes of the section."""
    sections = []
    for name in names:
        found = find(name)
        assert found is not None, name
        own_keys = {key: given[key] for key in parameters(found) if key in given}
        sections.append({"_target_": found.target, **signatures.convert(found.target, own_keys)})
    return sections


def _needed(found: Found) -> dict[str, str]:
    """Module -> what to type: of ours what REQUIRES says, of Lightning's the requirement that its file checks first."""
    module = found.target.rpartition(".")[0]
    if found.source == "own":
        return signatures.module_value(module, "REQUIRES") or {}
    for call in (node for node in ast.walk(signatures.file_of(found.target)) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id == "RequirementCache":
            given = (*call.args, *(word.value for word in call.keywords))
            words = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            package = words[1] if len(words) > 1 else words[0].partition(">")[0]
            return {package: f'pip install "{words[0]}"'}
    return {}


def _short(cls: str) -> str:
    return cls.removesuffix("Logger").lower()
