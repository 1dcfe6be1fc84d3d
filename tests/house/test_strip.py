"""docs/strip.md lists what can be taken away: the files that only one script reaches by its imports."""

import ast
import re
from pathlib import Path

import pytest

from tests.test_imports import imports_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "strip.md").read_text(encoding="utf-8")
FOLDERS = ("settings", "models", "datamodules", "callbacks", "engine", "reports", "benchmarks")
FILES = {
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.py"), *(one for folder in FOLDERS for one in (ROOT / folder).rglob("*.py")))
}
LISTED = {
    name: [word for word in re.sub(r"\\\n", " ", block).split() if word not in ("git", "rm", "-rq")]
    for name, block in re.findall(r"^## (\w+)$.*?^((?: {4}[^\n]+\n)+)", PAGE, re.MULTILINE | re.DOTALL)
}
"""Name of an island -> files and folders to delete, tests among them."""


def read(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def modules(name: str) -> set[str]:
    """The files that `import name` runs: of the packages on the way, and of the module."""
    parts = name.split(".")
    stems = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return {file for stem in stems for file in (f"{stem}.py", f"{stem}/__init__.py")} & FILES


def imported(file: str) -> set[str]:
    """The files that a file imports; of `import_module(f"reports.{kind}")` those of its own words in the folder."""
    text = read(file)
    words = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    names = {one.name for one in imports_of(file, text)}
    names |= {f"{name}.{word}" for name in names if (ROOT / name.replace(".", "/")).is_dir() for word in words}
    return {target for name in names for target in modules(name)}


IMPORTS = {file: imported(file) for file in FILES}


def reached(*roots: str) -> set[str]:
    """The files that these need, with themselves."""
    found: set[str] = set()
    left = list(roots)
    while left:
        file = left.pop()
        if file not in found:
            found.add(file)
            left += IMPORTS[file]
    return found


def islands() -> dict[str, set[str]]:
    """Name -> what it reaches beside what `train.py` may need.

    What no script imports (nets, operations, data sets) is found by its name, and belongs to `train.py`; so does a
    folder whose files are found by listing it (tasks).
    """
    scripts = {name: reached(f"{name}.py") for name in LISTED if f"{name}.py" in FILES}
    benchmarks = {file for file in FILES if file.startswith("benchmarks/")}
    by_name = FILES - benchmarks - reached("train.py").union(*scripts.values())
    listing = [Path(file).parent for file in FILES if file.endswith("__init__.py") and '.glob("*.py")' in read(file)]
    core = reached("train.py", *by_name, *(file for file in FILES if Path(file).parent in listing))
    return {name: files - core for name, files in (scripts | {"benchmarks": reached(*benchmarks)}).items()}


ISLANDS = islands()


@pytest.mark.parametrize("name", sorted(ISLANDS))
def test_an_island_is_listed_whole_and_alone(name):
    others = set().union(*(files for other, files in ISLANDS.items() if other != name))
    listed = {
        file for file in FILES for word in LISTED[name] if file == word or file.startswith(f"{word.rstrip('/')}/")
    }
    assert listed == ISLANDS[name] - others


def test_what_several_share_is_listed():
    rows = dict(re.findall(r"^\| ([\w, ]+) \| (`.*`) \|$", PAGE, re.MULTILINE))
    listed = {file: set(users.split(", ")) for users, files in rows.items() for file in re.findall(r"`([^`]+)`", files)}
    users = {
        file: {name for name, files in ISLANDS.items() if file in files} for file in set().union(*ISLANDS.values())
    }
    shared = {file: names for file, names in users.items() if len(names) > 1}
    assert {file: names for file, names in listed.items() if not file.startswith("tests/")} == shared


def test_every_file_that_is_to_be_deleted_is_there():
    assert set(LISTED) == set(ISLANDS)
    assert [word for words in LISTED.values() for word in words if not (ROOT / word).exists()] == []
