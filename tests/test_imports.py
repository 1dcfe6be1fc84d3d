"""The one-way streets between the folders, by reading every import; and names that files must not have.

Imports inside functions, relative imports and `import_module("...")` count. `if TYPE_CHECKING` counts for the
direction of an import, but not for its cost.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("settings", "models", "datamodules", "callbacks", "engine", "reports", "benchmarks", "tests")
HEAVY = {"timm", "albumentations", "wandb", "matplotlib", "sklearn", "scipy", "optuna", "jinja2"}
DRAWERS = {"util", "utils", "helper", "helpers", "misc", "common"}


class Import(NamedTuple):
    """One imported module: `file` and `line` of the statement, `name` with all its dots."""

    file: str
    line: int
    name: str
    at_module_level: bool

    @property
    def top(self) -> str:
        return self.name.split(".")[0]

    def within(self, folder: str) -> bool:
        """Is the file in the folder?"""
        return self.file.startswith(f"{folder}/")

    @property
    def in_entry_script(self) -> bool:
        return "/" not in self.file

    def reaches(self, *modules: str) -> bool:
        """Is one of the modules imported, or something in it?"""
        return any(self.name == module or self.name.startswith(f"{module}.") for module in modules)


def imports_of(file: str, source: str) -> Iterator[Import]:
    """Every import of a file; `from a import b` gives a.b, which may be a module or a thing in one."""
    here = file.removesuffix(".py").split("/")[:-1]

    def visit(node: ast.AST, runs_on_import: bool) -> Iterator[Import]:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                names = [str(first.value).rstrip(".")]
        yield from (Import(file, node.lineno, name, runs_on_import) for name in names)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            runs_on_import = False
        inside_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, runs_on_import and not inside_function)

    yield from visit(ast.parse(source), True)


def is_tests(file: str) -> bool:
    return file.startswith("tests/")


# Each street: what is said when it is left, and who leaves it, given the names of the entry scripts.
STREETS: dict[str, Callable[[Import, set[str]], bool]] = {
    "nets import torch only, and no sibling": lambda i, _: (
        i.within("models/nets") and i.top != "torch" and i.top not in sys.stdlib_module_names
    ),
    "models outside tasks never import lightning": lambda i, _: (
        i.within("models") and not i.within("models/tasks") and i.top == "lightning"
    ),
    "models never import datamodules": lambda i, _: i.within("models") and i.top == "datamodules",
    "models never import callbacks, engine or reports": lambda i, _: (
        i.within("models") and i.top in ("callbacks", "engine", "reports")
    ),
    "datamodules never import models": lambda i, _: i.within("datamodules") and i.top == "models",
    "datamodules never import callbacks, engine or reports": lambda i, _: (
        i.within("datamodules") and i.top in ("callbacks", "engine", "reports")
    ),
    "callbacks, engine and reports never import datamodules": lambda i, _: (
        i.top == "datamodules" and any(i.within(folder) for folder in ("callbacks", "engine", "reports"))
    ),
    "callbacks are below engine": lambda i, _: i.within("callbacks") and i.top == "engine",
    "reports import neither callbacks nor engine": lambda i, _: (
        i.within("reports") and i.top in ("callbacks", "engine")
    ),
    "configs hold YAML alone": lambda i, _: i.within("configs"),
    "hydra and omegaconf: settings and tests": lambda i, _: (
        i.top in ("hydra", "omegaconf") and not (i.within("settings") or is_tests(i.file))
    ),
    "settings never import torch": lambda i, _: (
        i.within("settings") and i.top in {"torch", "torchvision", "lightning", "torchmetrics", *HEAVY}
    ),
    "comparison never imports torch": lambda i, _: (
        i.within("reports/comparison")
        and (i.top in {"torch", "torchvision", "lightning", "torchmetrics", "models", "datamodules"})
    ),
    "models and datamodules take from settings what everything stands on": lambda i, _: (
        (i.within("models") or i.within("datamodules"))
        and i.top == "settings"
        and not i.reaches(
            "settings.errors",
            "settings.paths",
            "settings.preprocessing",
            "settings.ranges",
            "settings.weight_files",
            "settings.whole_file",
        )
        and not (i.within("models") and i.reaches("settings.run_names"))
    ),
    "wandb: callbacks/loggers/wandb_logger.py alone": lambda i, _: (
        i.reaches("wandb", "lightning.pytorch.loggers.WandbLogger", "lightning.pytorch.loggers.wandb")
        and i.file != "callbacks/loggers/wandb_logger.py"
        and not is_tests(i.file)
    ),
    "entry scripts import train.py alone among themselves; tests and notebooks any of them": lambda i, entry_scripts: (
        i.top in entry_scripts and not (i.in_entry_script and i.top == "train") and not is_tests(i.file)
    ),
    "entry scripts load only settings before main": lambda i, _: (
        i.in_entry_script
        and i.at_module_level
        and i.top != "settings"
        and i.top not in sys.stdlib_module_names
        and not (i.file == "sweep.py" and i.top == "train")
    ),
    "heavy imports stand where they are used": lambda i, _: (
        i.top in HEAVY and i.at_module_level and not is_tests(i.file)
    ),
    "lightning, never pytorch_lightning": lambda i, _: i.top in ("pytorch_lightning", "lightning_fabric"),
}


def violations(files: Mapping[str, str]) -> list[str]:
    """What leaves a street, as `file:line imports name: street`; files are path from the root -> source."""
    entry_scripts = {file.removesuffix(".py") for file in files if "/" not in file}
    return [
        f"{each.file}:{each.line} imports {each.name}: {street}"
        for file, source in files.items()
        for each in imports_of(file, source)
        for street, leaves in STREETS.items()
        if leaves(each, entry_scripts)
    ]


def drawers(paths: list[str]) -> list[str]:
    """Files and folders named after being left over."""
    return [path for path in paths if DRAWERS & {part.removesuffix(".py") for part in path.split("/")}]


def project_files() -> dict[str, str]:
    found = [*ROOT.glob("*.py"), *(path for folder in (*FOLDERS, "configs") for path in (ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(found)}


def test_the_project_keeps_to_its_streets():
    files = project_files()
    assert {"train.py", "settings/commands/help.py", "models/build.py", "tests/test_imports.py"} <= set(files)
    assert violations(files) == []


def test_there_are_no_drawers():
    assert drawers(list(project_files())) == []
    planted = ["models/utils.py", "utils/x.py", "configs/misc.py", "models/common/a.py", "helpers.py"]
    assert drawers([*planted, "models/commons.py", "models/nets/utilities_of_war.py"]) == planted


PLANTED = [
    ("models/nets/a.py", "import torchvision", "nets import torch only"),
    ("models/nets/a.py", "from models.nets.b import Block", "nets import torch only"),
    ("models/nets/a.py", "from .b import Block", "nets import torch only"),
    ("models/nets/a.py", "from . import b", "nets import torch only"),
    ("models/nets/a.py", "def f():\n    from settings.errors import UserError", "nets import torch only"),
    ("models/optim.py", "def f():\n    import lightning.pytorch as pl", "models outside tasks"),
    ("models/build.py", "from datamodules.base import ImageDataModule", "models never import datamodules"),
    ("models/build.py", "from ..datamodules import base", "models never import datamodules"),
    ("models/tasks/a.py", "from ...datamodules import base", "models never import datamodules"),
    (
        "models/build.py",
        "import importlib\nimportlib.import_module('datamodules.x')",
        "models never import data",
    ),
    ("models/build.py", "from callbacks import csv_log", "models never import callbacks, engine"),
    (
        "datamodules/a.py",
        "class A:\n    def f(self):\n        import models",
        "datamodules never import models",
    ),
    ("datamodules/a.py", "x = import_module(f'models.nets.{name}')", "datamodules never import models"),
    ("datamodules/a.py", "import callbacks.signals", "datamodules never import callbacks, engine"),
    (
        "callbacks/a.py",
        "if TYPE_CHECKING:\n    from datamodules.base import X",
        "callbacks, engine and reports never",
    ),
    ("engine/a.py", "from datamodules.base import X", "callbacks, engine and reports never"),
    ("callbacks/a.py", "from engine.trainer import x", "callbacks are below engine"),
    ("reports/a.py", "from engine import x", "reports import neither"),
    ("reports/a.py", "def f():\n    from callbacks.scores import x", "reports import neither"),
    ("configs/a.py", "import math", "configs hold YAML alone"),
    ("callbacks/a.py", "from omegaconf import DictConfig", "hydra and omegaconf"),
    ("models/tasks/a.py", "def f():\n    import hydra.utils", "hydra and omegaconf"),
    ("settings/a.py", "def f():\n    import torch", "settings never import torch"),
    ("settings/a.py", "def f():\n    from timm import list_models", "settings never import torch"),
    (
        "reports/comparison/a.py",
        "def f():\n    from models.load import load_run",
        "comparison never imports torch",
    ),
    (
        "models/a.py",
        "from settings.schema.run_config import RunConfig",
        "take from settings",
    ),
    ("datamodules/a.py", "from settings.reading import compose", "take from settings"),
    ("datamodules/a.py", "from settings.run_names import find_run", "take from settings"),
    ("models/a.py", "from settings.runs import new_folder", "take from settings"),
    ("callbacks/pictures.py", "def f():\n    import wandb", "wandb: callbacks/loggers/wandb_logger.py alone"),
    (
        "train.py",
        "def f():\n    from lightning.pytorch.loggers import WandbLogger",
        "wandb: callbacks/loggers/wandb_logger.py",
    ),
    ("callbacks/a.py", "def f():\n    from train import run", "entry scripts import train.py alone"),
    ("compare.py", "def f():\n    import explore", "entry scripts import train.py alone"),
    ("train.py", "import torch", "entry scripts load only settings"),
    ("train.py", "try:\n    import hydra\nexcept ImportError:\n    pass", "entry scripts load only settings"),
    ("callbacks/loggers/wandb_logger.py", "import wandb", "heavy imports"),
    ("datamodules/a.py", "class A:\n    from sklearn import datasets", "heavy imports"),
    ("models/weights.py", "import timm.models", "heavy imports"),
    ("callbacks/a.py", "import matplotlib.pyplot as plt", "heavy imports"),
    ("callbacks/a.py", "from pytorch_lightning import Trainer", "never pytorch_lightning"),
]


@pytest.mark.parametrize(("file", "source", "street"), PLANTED)
def test_a_planted_violation_is_found(file, source, street):
    found = violations({"train.py": "", "compare.py": "", "explore.py": "", file: source})
    assert any(street in line and line.startswith(f"{file}:") for line in found), found


def test_every_street_has_a_planted_violation():
    for street in STREETS:
        assert any(part in street for _, _, part in PLANTED), street


ALLOWED = [
    ("models/nets/a.py", "import math\nimport torch.nn.functional as F\nfrom torch import nn"),
    (
        "models/tasks/a.py",
        "from lightning import LightningModule\nfrom models import losses\nfrom ..optim import x",
    ),
    ("models/build.py", "from settings.errors import UserError\ndef f():\n    import timm"),
    ("models/load.py", "from settings.run_names import find_run"),
    ("datamodules/a.py", "from . import splits\nfrom settings.preprocessing import Preprocessing"),
    (
        "callbacks/loggers/wandb_logger.py",
        "def f():\n    import wandb\n    from lightning.pytorch.loggers import WandbLogger",
    ),
    ("callbacks/a.py", "if TYPE_CHECKING:\n    import matplotlib\nfrom models.stages import stages"),
    ("settings/a.py", "from hydra import compose\nfrom models.nets import NETS"),
    (
        "train.py",
        "import sys\nfrom settings.commands.launch import launch\ndef f():\n    import lightning, sklearn",
    ),
    ("sweep.py", "from train import train\ndef f():\n    import optuna"),
    ("explore.py", "def f():\n    from train import build_data"),
    ("tests/test_a.py", "import wandb, timm, hydra\nfrom train import train\nimport datamodules, models"),
]


@pytest.mark.parametrize(("file", "source"), ALLOWED)
def test_what_is_allowed_is_not_reported(file, source):
    assert violations({"train.py": "", file: source}) == []
