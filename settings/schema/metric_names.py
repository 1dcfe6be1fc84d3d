"""Metrics that a configuration may use: ours and torchmetrics', read from source without importing either."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from settings.schema import signatures

FILLED_IN = frozenset({"num_classes", "num_labels", "ignore_index", "validate_args", "kwargs"})
"""Parameters of a metric that the task fills in, where the signature has them."""
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Metric(NamedTuple):
    """A metric as its source has it.

    Args:
        target: where its class stands.
        direction: whether its "max" or "min" is best; None where the class does not say.
        parameters: what a configuration may give to it.
    """

    target: str
    direction: str | None
    parameters: dict[str, signatures.Parameter]


def known(kind: str) -> list[str]:
    """All metrics of a kind (`Multiclass`, `Multilabel`, `Binary`), as they are written: `cohen_kappa`."""
    library = [_WORDS.sub("_", cls.removeprefix(kind)).lower() for cls in _library() if kind and cls.startswith(kind)]
    return sorted({*_ours(), *library})


def find(name: str, kind: str) -> Metric | None:
    """A metric: ours, then torchmetrics' of the kind, compared without `_` and case; None if there is none.

    Raises:
        NotFoundInSource: the file of ours does not hold the class that it is named after.
    """
    if name in _ours():
        target = f"models.metrics.{name}.{name.title().replace('_', '')}"
        takes = signatures.parameters(target) or {}
        return Metric(target, _direction(signatures.class_value(target, "higher_is_better")), _free(takes))
    wanted = (kind + name.replace("_", "")).lower()
    cls = next((cls for cls in _library() if kind and cls.lower() == wanted), None)
    return None if cls is None else _of_library(cls)


def mistakes(metric: Metric, arguments: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield (argument, what is wrong) for all that a metric would not take; None for an unknown argument."""
    return signatures.argument_mistakes(metric.target, metric.parameters, arguments)


def _ours() -> list[str]:
    return [path.stem for path in (signatures.ROOT / "models/metrics").glob("*.py") if path.stem != "__init__"]


def _direction(higher_is_better: object) -> str | None:
    return {True: "max", False: "min"}.get(higher_is_better) if isinstance(higher_is_better, bool) else None


def _free(parameters: dict[str, signatures.Parameter]) -> dict[str, signatures.Parameter]:
    return {name: parameter for name, parameter in parameters.items() if name not in FILLED_IN}


@cache
def _library() -> dict[str, Path]:
    """Torchmetrics' classes for classification -> their file; its source is searched, as parsing all takes longer."""
    spec = importlib.util.find_spec("torchmetrics")
    if spec is None or not spec.submodule_search_locations:
        return {}
    files = sorted((Path(spec.submodule_search_locations[0]) / "classification").glob("*.py"))
    pattern = re.compile(r"^class (\w+)\(", re.MULTILINE)
    return {cls: file for file in files for cls in pattern.findall(file.read_text(encoding="utf-8"))}


@cache
def _classes(file: Path) -> dict[str, ast.ClassDef]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


@cache
def _of_library(name: str) -> Metric:
    higher_is_better: object = None
    decided, init = False, None
    cls: str | None = name
    while cls is not None and cls in _library():
        node = _classes(_library()[cls])[cls]
        if not decided:
            decided, higher_is_better = signatures.literal(node.body, "higher_is_better")
        functions = (part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__")
        init = init or next(functions, None)
        cls = next((base.id for base in node.bases if isinstance(base, ast.Name)), None)
    takes = signatures.keywords(init, positional=True) if init else {}
    return Metric(f"torchmetrics.classification.{name}", _direction(higher_is_better), _free(takes))
