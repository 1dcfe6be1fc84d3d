"""Optimisers by name: ours, then torch's classes, then what timm registers; found in source, nothing is imported.

Ours are the files of models/optimizers, each with a function of its own name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from settings.errors import nearest
from settings.schema import signatures

SHARED = ("lr", "weight_decay")
"""Keys of every optimiser: the parameter groups carry them."""
FILLED_IN = frozenset({"fused"})
REFUSED = {
    "LBFGS": "it evaluates the loss several times a step, through a closure; a run here does so once",
    "SparseAdam": "it takes sparse gradients alone, and no layer of a net for images has any",
    "Muon": "torch's takes matrices alone, and nets have convolutions and biases; timm's takes all: optimizer=muon",
    "adahessian": "it needs the gradient's own gradient (create_graph), which a run here does not keep",
}
"""Optimisers that cannot work here, and why."""


class Found(NamedTuple):
    """Where an optimiser is defined, in which of `own`, `torch` and `timm`."""

    target: str
    source: str


def own() -> list[str]:
    """Our optimisers: the files of models/optimizers."""
    folder = signatures.ROOT / "models" / "optimizers"
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def find(name: str) -> Found | None:
    """The optimiser of exactly this name; None if there is none."""
    if name in own():
        return Found(f"models.optimizers.{name}.{name}", "own")
    for source, table in (("torch", torch_classes()), ("timm", timm_names())):
        if name in table:
            return Found(table[name], source)
    return None


def target(name: str) -> str | None:
    """Where the optimiser of this name is defined; None if there is none."""
    found = find(name)
    return found.target if found else None


def refused(name: str) -> str | None:
    """Why an optimiser that exists cannot work here; None if it can."""
    found = find(name)
    if found is None or found.source == "own":
        return None
    package = found.target.split(".")[0]
    if package not in ("torch", "timm") and find_spec(package) is None:
        return f"it needs a CUDA device and the package {package}, which is not installed"
    return REFUSED.get(name)


def arguments(name: str) -> list[str]:
    """Keys of the section `optimizer` beside its name, for an optimiser that exists."""
    found = find(name)
    assert found is not None
    return signatures.names(found.target, ours=filled_in(found))


def filled_in(found: Found) -> frozenset[str]:
    """Arguments that a run fills in; whether ours do the update in one kernel is among them."""
    return FILLED_IN if found.source == "own" else frozenset({"params"})


def section(name: str) -> dict[str, Any]:
    """The section that a bare name stands for: its rate and decay as the signature has them."""
    place = target(name)
    try:
        known = signatures.defaults(place) if place else {}
    except signatures.NotFoundInSource:
        known = {}
    return {"name": name, **{key: known[key] for key in SHARED if known.get(key) is not None}}


def unknown(name: str) -> str:
    """Say that there is no such optimiser, and which come near: ours first, then torch's, then timm's."""
    pools = (own(), torch_classes(), timm_names())
    near = [one for pool in pools for one in nearest(name, pool)]
    close = nearest(name, dict.fromkeys(near), n=4) or near
    if close:
        return f"unknown optimizer {name!r:.60}; nearest: {', '.join(close)}"
    return f"unknown optimizer {name!r:.60}; there is: {', '.join(own())}, torch.optim's classes, timm's optimisers"


@cache
def torch_classes() -> dict[str, str]:
    """torch.optim's classes: name -> `torch.optim.file.Class`."""
    folder = _folder("torch")
    if folder is None:
        return {}
    names = _imported(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")), "torch.optim")
    return {name: place for name, place in names.items() if name[0].isupper() and name != "Optimizer"}


@cache
def timm_names() -> dict[str, str]:
    """The names that timm registers, and the class of each: `timm.optim.lion.Lion`, `torch.optim.nadam.NAdam`."""
    folder = _folder("timm")
    if folder is None or not (folder / "_optim_factory.py").is_file():
        return {}
    tree = ast.parse((folder / "_optim_factory.py").read_text(encoding="utf-8"))
    imported = _imported(tree, "timm.optim")
    table: dict[str, str] = {}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        found = _registered(call, imported)
        if found and found[1]:
            table[found[0].lower()] = found[1]
    for alias, name in _aliases(tree):
        table[alias] = table[name]
    return table


def _registered(call: ast.Call, imported: dict[str, str]) -> tuple[str, str | None] | None:
    """The name and class of an `OptimInfo(name=..., opt_class=...)`; None of another call."""
    if not isinstance(call.func, ast.Name) or call.func.id != "OptimInfo":
        return None
    given = {word.arg: word.value for word in call.keywords} | dict(zip(("name", "opt_class"), call.args, strict=False))
    name, cls = given["name"], given["opt_class"]
    if not isinstance(name, ast.Constant):
        return None
    if isinstance(cls, ast.Attribute):  # torch.optim.NAdam
        return str(name.value), torch_classes().get(cls.attr)
    return str(name.value), imported.get(cls.id) if isinstance(cls, ast.Name) else str(ast.literal_eval(cls))


def _aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        words = [str(word.value) for word in call.args if isinstance(word, ast.Constant)]
        if isinstance(call.func, ast.Attribute) and call.func.attr == "register_alias" and len(words) == 2:
            yield words[0], words[1]


def _imported(tree: ast.Module, package: str) -> dict[str, str]:
    """What a package's file imports from its own modules: name -> `package.module.name`."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            module = f"{package}.{node.module}" if node.level else node.module
            if module.startswith(f"{package}."):
                found.update({alias.asname or alias.name: f"{module}.{alias.name}" for alias in node.names})
    return found


def _folder(library: str) -> Path | None:
    spec = find_spec(library)
    return Path(spec.submodule_search_locations[0]) / "optim" if spec and spec.submodule_search_locations else None
