"""docs/fork.md, "Take later versions", typed on a small fork: by a merge, and without the template's history."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "fork.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## Take later versions") : PAGE.index("## Take away what you do not need")]
BLOCKS = [
    [line.strip() for line in block.splitlines()] for block in re.findall(r"(?:^ {4}\S.*\n)+", SECTION, re.MULTILINE)
]
PARTS = ("settings", "models", "datamodules", "callbacks", "engine", "reports", "configs", "docs")
ROW = '    "spot": ("models.nets.spot:Spot", {}),\n'
NET = (Path(__file__).with_name("fork") / "models" / "nets" / "spot.py").read_text(encoding="utf-8")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a forker", "-c", "user.email=forker@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def commit(folder: Path, subject: str, tag: str | None = None) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", subject)
    if tag:
        git(folder, "tag", tag)


def change(folder: Path, file: str, before: str, after: str) -> None:
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(before) == 1, (file, before)
    (folder / file).write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template with two releases: in the later one a file has moved, and two have changed, one that forks edit."""
    folder = tmp_path_factory.mktemp("template")
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.py"), *(ROOT / name for name in ("README.md", "CHANGELOG.md", ".gitignore"))]:
        shutil.copy(path, folder)
    (folder / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", folder / "tests")
    git(folder, "init", "-q")
    (folder / "settings" / "former.py").write_text('"""At its old place."""\n')
    change(folder, "CHANGELOG.md", "# Changelog\n", "# Changelog\n\n## 9.0.0\n")
    commit(folder, "A release", "v9.0.0")
    (folder / "settings" / "former.py").unlink()
    (folder / "reports" / "moved.py").write_text('"""At its new place."""\n')
    change(folder, "CHANGELOG.md", "# Changelog\n", "# Changelog\n\n## 9.1.0\n")
    change(folder, "settings/errors.py", "MOST_LINES = 12", "MOST_LINES = 13")
    change(folder, "models/nets/__init__.py", '"""Our own', '"""Later: our own')
    commit(folder, "A later release", "v9.1.0")
    return folder


def forked(template: Path, folder: Path, *, with_history: bool) -> None:
    """A fork of the first release: a net of its own with its row, another name, a page of its own, no house tests."""
    git(folder.parent, "clone", "-q", "-b", "v9.0.0", str(template), folder.name)
    git(folder, "checkout", "-q", "-B", "main")
    git(folder, "remote", "remove", "origin")
    if not with_history:
        shutil.rmtree(folder / ".git")
        git(folder, "init", "-q")
        commit(folder, "From the template's files")
    (folder / "models" / "nets" / "spot.py").write_text(NET, encoding="utf-8")
    text = (folder / "models" / "nets" / "__init__.py").read_text(encoding="utf-8")
    start = text.index("{\n", text.index("\nNETS")) + 2
    (folder / "models" / "nets" / "__init__.py").write_text(text[:start] + ROW + text[start:], encoding="utf-8")
    (folder / "README.md").write_text("# Darkroom\n", encoding="utf-8")
    (folder / "configs" / "model" / "spot.yaml").write_text(
        (folder / "configs" / "model" / "softmax.yaml").read_text().replace("softmax", "spot"), encoding="utf-8"
    )
    commit(folder, "Ours")


def typed(folder: Path, lines: list[str], template: Path) -> Iterator[str]:
    """Type the page's lines, with its URL and its release as they are here."""
    for line in lines:
        words = line.replace("URL", str(template)).replace("v0.1.0", "v9.0.0").replace("v0.2.0", "v9.1.0")
        environment = ["-c", "user.name=a forker", "-c", "user.email=forker@example.org"]
        words = words.replace("git ", f"git {' '.join(repr(one) for one in environment)} ")
        done = subprocess.run(["bash", "-c", words], cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        yield done.stdout


def is_later_and_ours(folder: Path) -> None:
    assert not (folder / "settings" / "former.py").exists() and (folder / "reports" / "moved.py").exists()
    assert "MOST_LINES = 13" in (folder / "settings" / "errors.py").read_text(encoding="utf-8")
    table = (folder / "models" / "nets" / "__init__.py").read_text(encoding="utf-8")
    assert ROW in table and table.startswith('"""Later: ')
    assert (folder / "README.md").read_text(encoding="utf-8") == "# Darkroom\n"
    assert (folder / "models" / "nets" / "spot.py").read_text(encoding="utf-8") == NET
    shown = subprocess.run(
        [sys.executable, "train.py", "--cfg", "job", "model=spot"],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert shown.returncode == 0 and "name: spot" in shown.stdout, shown.stderr


def test_the_page_has_both_ways() -> None:
    first, merged, replaced = BLOCKS[:3]
    assert first[-1].startswith("git fetch") and merged == ["git merge v0.2.0"] and len(replaced) >= 2


def test_a_fork_with_the_history_merges_a_release(template: Path, tmp_path: Path) -> None:
    fork = tmp_path / "fork"
    forked(template, fork, with_history=True)
    list(typed(fork, [*BLOCKS[0], *BLOCKS[1]], template))
    assert git(fork, "status", "--porcelain") == ""
    is_later_and_ours(fork)


def test_a_fork_without_it_replaces_what_is_the_templates(template: Path, tmp_path: Path) -> None:
    fork = tmp_path / "fork"
    forked(template, fork, with_history=False)
    *_, shown = typed(fork, [*BLOCKS[0], *BLOCKS[2]], template)
    assert f"-{ROW}" in shown and '+"""Later: ' in shown, "the page says: put the lines back that are shown as removed"
    text = (fork / "models" / "nets" / "__init__.py").read_text(encoding="utf-8")
    start = text.index("{\n", text.index("\nNETS")) + 2
    (fork / "models" / "nets" / "__init__.py").write_text(text[:start] + ROW + text[start:], encoding="utf-8")
    is_later_and_ours(fork)
