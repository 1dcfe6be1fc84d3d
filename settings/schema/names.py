"""Names that a configuration may use, found without importing torch: nets, transfer modes and operations."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any

from settings.errors import nearest
from settings.paths import CONFIGS, ROOT

LIBRARIES = ("torchvision", "timm")
TORCH_HUB = ("hub", "torchhub", "torch_hub", "torch.hub")
_REGISTERED = re.compile(r"^@register_model(?:\(\))?\s*\n(?:@.*\n)*def (\w+)", re.MULTILINE)


def nets() -> dict[str, tuple[str, dict[str, Any]]]:
    """Our own nets: name -> ("file:Class", the arguments that the name stands for)."""
    table: dict[str, tuple[str, dict[str, Any]]] = importlib.import_module("models.nets").NETS
    return table


FILLED_IN_OWN_NETS = frozenset({"num_classes", "in_channels", "image_size"})


def net_target(name: str) -> str:
    """One of our own nets as "models.nets.file.Class"; of a net on a library's, "models.file.Class"."""
    place = nets()[name][0].replace(":", ".")
    return place if place.startswith("models.") else f"models.nets.{place}"


def net_output(name: str | None) -> str:
    """What a net of ours gives: `logits` (B, K) or `dense` (B, K, H, W); None is a library's, which gives logits."""
    from settings.schema import signatures

    if name is None:
        return "logits"
    try:
        return signatures.class_value(net_target(name), "output") or "logits"
    except signatures.NotFoundInSource:
        return "logits"


def transfer_modes() -> dict[str, str]:
    """Transfer modes: name -> "models.transfer.function"."""
    table = importlib.import_module("models.transfer").MODES
    return {name: f"{function.__module__}.{function.__name__}" for name, function in table.items()}


def tasks() -> dict[str, str]:
    """Tasks: name -> "models.tasks.file.Class", by listing their folder."""
    table: dict[str, str] = importlib.import_module("models.tasks").task_files()
    return table


def task_value(task: str, name: str) -> Any:
    """A literal that a task's class holds, such as `metrics`; None where there is no such task or literal."""
    from settings.schema import signatures

    try:
        return signatures.class_value(tasks()[task], name)
    except (KeyError, signatures.NotFoundInSource):
        return None


def data_targets(target: str) -> tuple[str, ...]:
    """The targets that a data set has, the default one first."""
    from settings.schema import signatures

    return tuple(signatures.class_value(target, "targets") or ("labels",))


def default_task(target: str, root: Path | None = None) -> str:
    """The task of a data set where none is chosen; a CSV file of label sets is told by its first lines."""
    from settings.schema import image_files, signatures

    if root is not None and "multilabels" in data_targets(target)[1:] and image_files.holds_label_sets(root):
        return "multilabel"
    return signatures.class_value(target, "task") or "classification"


def logged(task: str) -> dict[str, str]:
    """What a task reports, as `val/accuracy` -> whether `max` or `min` is best."""
    metrics = task_value(task, "metrics") or {}
    in_training = task_value(task, "in_training") or ()
    return {f"val/{name}": best for name, best in metrics.items()} | {
        f"train/{name}": metrics[name] for name in in_training if name in metrics
    }


@cache
def operations() -> dict[str, str]:
    """Augmentation operations of ours: name -> "datamodules.FOLDER.file.Class"; the tables are read, not imported."""
    return {**_operations_of("batch"), **_operations_of("image")}


def _operations_of(folder: str) -> dict[str, str]:
    tree = ast.parse((ROOT / "datamodules" / folder / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        target: ast.expr | None = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == "OPERATIONS":
            table = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            return {name: f"datamodules.{folder}.{place.replace(':', '.')}" for name, place in table.items()}
    raise AssertionError(f"datamodules/{folder}/__init__.py has no dict literal OPERATIONS")


_MIRRORS_AND_TURNS = frozenset({"horizontal_flip", "vertical_flip", "quarter_turn"})
_UNDER_OTHER_NAMES = {
    "D4": _MIRRORS_AND_TURNS,
    "SquareSymmetry": _MIRRORS_AND_TURNS,
    "Transpose": _MIRRORS_AND_TURNS,
    "RandomRotate90": frozenset({"quarter_turn"}),
}
"""albumentations' classes that do what operations of ours do, or several of them."""


def effects(operation: str) -> frozenset[str]:
    """What an operation does, by its own name and ours: albumentations' HorizontalFlip is a horizontal_flip."""
    ours = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operation).lower()
    return _UNDER_OTHER_NAMES.get(operation, frozenset()) | {operation, ours}


@cache
def library_nets(source: str) -> frozenset[str]:
    """Classification nets that a library registers, read from its source: importing timm takes seconds."""
    spec = importlib.util.find_spec(source)
    if spec is None or not spec.submodule_search_locations:
        return frozenset()
    folder = Path(spec.submodule_search_locations[0]) / "models"
    found = (_REGISTERED.findall(path.read_text(encoding="utf-8")) for path in folder.glob("*.py"))
    return frozenset(name for names in found for name in names)


def source_of(name: str) -> str | None:
    """Where a bare net name is found first: own, torchvision, timm (with or without a tag), or nowhere."""
    if name in nets():
        return "own"
    if name in library_nets("torchvision"):
        return "torchvision"
    return "timm" if name.split(".")[0] in library_nets("timm") else None


def known(source: str) -> list[str]:
    """All names of one source."""
    return sorted(nets()) if source == "own" else sorted(library_nets(source))


def is_net_file(name: str) -> bool:
    """Whether a net's file of this name lies among ours, registered or not."""
    return name.isidentifier() and (ROOT / "models" / "nets" / f"{name}.py").is_file()


def unknown_net(name: str, *, source: str | None = None) -> str:
    """Say that there is no such net, and which come near; our own first, then torchvision's, then timm's."""
    if name in TORCH_HUB:
        return (
            f"model={name} is refused: torch.hub runs a repository's own code, whose folders (models, ...) would also "
            "stand in for ours. Take its weights alone: model=NAME transfer=full model.weights=FILE, and "
            "model.weights_by_order=true where its names are others"
        )
    pool = [source] if source else ["own", *LIBRARIES]
    close = [near for one in pool for near in nearest(name, known(one))]
    close = nearest(name, dict.fromkeys(close), n=4) or close
    where = f" in {source}" if source else ""
    if source in (None, "own") and (is_net_file(name) or (CONFIGS / "model" / f"{name}.yaml").is_file()):
        where += ": a net of our own needs a row in NETS of models/nets/__init__.py"
    return f"unknown model {name!r}{where}; nearest: {', '.join(close)}" if close else f"unknown model {name!r}{where}"
