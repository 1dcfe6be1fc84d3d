"""What README and docs/ tell people to type is accepted, and no link of theirs leads nowhere."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from settings.reading.compose import compose

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py"))
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^(?: {4}.*\n)+|`([^`]+)`", re.MULTILINE)  # indented lines, or between backticks


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.replace("`", "").lower()).replace(" ", "-") for head in heads}


def dead_links(page: Path, text: str) -> list[str]:
    """Targets of `[words](target)` that are not there; addresses with a scheme are not looked at."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", text)):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", file):
            continue
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            dead.append(target)
    return dead


def commands(text: str) -> list[tuple[str, str]]:
    """Each `python SCRIPT.py WORDS` of a page as (script, words)."""
    lines: list[str] = []
    for code in CODE.finditer(text):
        lines += [" ".join(code[1].split())] if code[1] else code[0].splitlines()
    found = (re.match(r"(?:pip .* && )?python (\w+)\.py\b([^|&#>]*)", line.strip()) for line in lines)
    return [(one[1], one[2].strip()) for one in found if one]


TYPED = sorted({one for page in PAGES for one in commands(page.read_text(encoding="utf-8")) if one[0] in SCRIPTS})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_dead(page):
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


def test_a_dead_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b`, c\n[x](page.md#a-b-c) [x](#a-b-c) [x](none.md) [x](#d) `[x](code.md)` [x](https://a.b)\n")
    assert dead_links(page, page.read_text()) == ["none.md", "#d"]


def test_commands_are_found_in_lines_and_between_backticks():
    text = "x `python train.py a=1\n  b=2` and `run a.py`\n\n    python evaluate.py run=A | tee log\n    pip list\n"
    assert commands(text) == [("train", "a=1 b=2"), ("evaluate", "run=A")]
    assert {script for script, _ in TYPED} >= {"train"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs that the pages speak of, as interrupted runs leave them."""
    folder = tmp_path_factory.mktemp("runs")
    for started, name in enumerate(("first", "second", "RUN")):
        run = folder / "digits-resnet20" / name
        (run / "checkpoints").mkdir(parents=True)
        for checkpoint in ("last.ckpt", "best.ckpt"):
            (run / "checkpoints" / checkpoint).write_bytes(b"")
        (run / "config.yaml").write_text(compose([f"name={name}", f"paths.runs={folder}"]).to_yaml())
        (run / "summary.json").write_text(json.dumps({"status": "interrupted", "started": started}))
    return folder


def as_typed(words: str, runs: Path) -> list[str]:
    """The words as the shell gives them, with the runs in their place."""
    named = re.compile(r"(?<=[=,])(?:runs/digits-resnet20/)?(first|second|RUN|digits-\*/\*)(?=,|$)")
    inside = {name: runs / "digits-resnet20" / name for name in ("first", "second", "RUN")}

    def placed(word: str) -> str:
        key = word.partition("=")[0]
        return named.sub(lambda one: str(inside.get(one[1], runs / one[1])), word) if key in ("run", "resume") else word

    return [placed(word) for word in shlex.split(words)]


@pytest.mark.parametrize(("script", "words"), TYPED, ids=[f"{script} {words}" for script, words in TYPED])
def test_what_is_to_be_typed_is_accepted(script, words, runs, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("settings.stop.leave_at_a_signal", lambda: None)  # of the tests' process
    where = [f"paths.runs={runs}"] if script in ("train", "evaluate", "compare") else []
    only_show = [] if re.search(r"--(help|cfg|schema)\b", words) else ["--cfg", "job"]
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *as_typed(words, runs), *where, *only_show])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / f"{script}.py"), run_name="__main__")
    assert stop.value.code == 0, capsys.readouterr().err
