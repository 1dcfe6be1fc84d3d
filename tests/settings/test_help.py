"""The help page names all there is, and costs nothing heavy."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from settings.commands.help import (
    COMMON,
    format_group,
    format_help,
    print_help,
    read_claim,
    read_default_choices,
    read_groups,
)
from settings.errors import UserError

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").glob("*/*.yaml"))
HEAVY = ("torch", "lightning", "hydra", "omegaconf", "pydantic", "yaml", "numpy")

RUN_HELP = """
import runpy, sys
sys.argv = ["train.py", *{arguments!r}]
try:
    runpy.run_path("train.py", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
print("modules:", *sorted(name for name in sys.modules if "." not in name))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["optimizer=sgd", "--help"]])
def test_train_help_imports_nothing_heavy(arguments):
    result = subprocess.run(
        [sys.executable, "-c", RUN_HELP.format(arguments=arguments)], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    page, _, modules = result.stdout.rpartition("modules:")
    assert not set(HEAVY) & set(modules.split())
    assert ("momentum" in page) if "optimizer=sgd" in arguments else ("Common overrides" in page)


def test_every_group_and_choice_is_on_the_page():
    page = format_help()
    assert FILES
    head = page.partition("Common overrides")[0].replace("[", " ").replace("]", " ").split()
    for path in FILES:
        assert path.parent.name in head and path.stem in head, path


def test_defaults_are_marked_as_hydra_reads_them():
    import yaml

    listed = yaml.safe_load((ROOT / "configs/train.yaml").read_text())["defaults"]
    expected = {k: str(v) if v else "null" for entry in listed if isinstance(entry, dict) for k, v in entry.items()}
    assert expected == read_default_choices()
    assert "[digits]" in format_help()
    assert "[fashion_mnist]" not in format_help()


def test_lines_fit_a_terminal():
    assert max(map(len, format_help().splitlines())) <= 100


@pytest.mark.parametrize("example", [one for one, _ in COMMON if "resume" not in one and one != "--schema"])
def test_every_example_is_a_valid_command(example):
    from settings.reading.compose import compose_jobs

    words = shlex.split(example.removesuffix("--cfg job"))
    jobs = compose_jobs([word for word in words if word != "-m"], multirun="-m" in words)
    assert len(jobs) == (6 if "-m" in words else 1)


def test_a_group_shows_its_file_with_comments():
    for choice in ("adamw", "sgd"):
        text = (ROOT / f"configs/optimizer/{choice}.yaml").read_text().strip()
        shown = "\n".join(line for line in text.splitlines() if "yaml-language-server" not in line)
        assert shown in format_group("optimizer", choice) and shown != text
    assert format_group("optimizer") == format_group("optimizer", "adamw")


def test_print_help_passes_over_what_is_no_group(capsys):
    print_help(["optimizer.lr=0.1", "seed=3", "model=resnet56", "optimizer=NAdam", "experiment=null", "-m"])
    assert capsys.readouterr().out.strip() == format_help()


@pytest.mark.parametrize(("words", "near"), [(["optimiser"], "optimizer"), (["optimizer=adamv"], "adamw")])
def test_a_wrong_name_gets_the_nearest(words, near):
    with pytest.raises(UserError, match=near):
        print_help(words)


def test_a_new_group_and_a_broken_file_need_no_edit(tmp_path):
    defaults = "defaults:\n  - _self_\n  # why\n  - zoo: lion\n  - debug: null\nseed: 0\nlist:\n  - not: this\n"
    (tmp_path / "train.yaml").write_text(defaults)
    for name in ("zoo/lion", "zoo/tiger", "flight/bird"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text("a: [")
    assert read_groups(tmp_path) == {"zoo": ["lion", "tiger"], "flight": ["bird"]}
    assert read_default_choices(tmp_path / "train.yaml") == {"zoo": "lion", "debug": "null"}
    assert "[lion] tiger" in format_help(tmp_path)


def test_claim_is_the_goal_else_the_first_comment(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("# @package _global_\n#\n# A first line.\n# goal: at least 0.9\nseed: 1\n")
    assert read_claim(path) == "at least 0.9"
    path.write_text("# @package _global_\n#\n# A first line.\nseed: 1\n")
    assert read_claim(path) == "A first line."
    path.write_text("seed: 1\n")
    assert read_claim(path) == ""


def test_a_closed_pipe_is_no_bug():
    command = "(sleep 0.5; exec {python} train.py --help) | true"
    result = subprocess.run(
        ["sh", "-c", command.format(python=shlex.quote(sys.executable))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.stderr == ""
