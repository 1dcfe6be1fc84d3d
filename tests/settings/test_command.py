"""The one reader of command lines: what a table of keys gives a script, and the same words from all scripts."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml

from settings.commands.command import EVERYTHING, Command, Job
from settings.commands.keys import NEEDED, key, keys_of
from settings.commands.launch import launch
from settings.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Painting(Job):
    """A job with a key of every kind."""

    subject: str = key(NEEDED, "what to paint")
    sides: Annotated[int, "3 <= x <= 12"] = key(4, "corners of the frame")
    scale: Annotated[float, "x > 0"] | None = key(None, "enlargement", shown="the canvas's")
    levels: tuple[Annotated[float, "0 <= x <= 1"], ...] = key((0.0, 0.5), "shades")
    colours: tuple[str, ...] = key((), "which", choices={"red": "warm", "blue": "cold"})
    style: Literal["oil", "ink"] = key("oil", "what with")
    framed: bool = key(False, "whether it gets a frame")
    file: Path | None = key(None, "where to")
    notes: tuple[str, ...] = key((), "more", repeat=True, name="more.notes")
    lengths: tuple[int, ...] = key((), "lengths of words", read=len, repeat=True)


PAINT = Command(
    job=Painting,
    script="paint.py",
    title="Paints.",
    usage=["subject=TEXT"],
    examples=["subject=tree", "torchrun paint.py subject=sea"],
    ending="Done.",
    overrides=("data",),
    training="nothing is trained here: WORD",
    no_grid="one at a time",
    habits={"sides": "corners edges"},
)


def read(*words, **more):
    return PAINT.read(["subject=a", *words], **more)


VALUES = {
    "sides=3": 3,
    "scale=8/255": 8 / 255,
    "scale=1e-3": 1e-3,
    "scale=null": None,
    "levels=[0, 1/4]": (0.0, 0.25),
    "colours=blue,red": ("blue", "red"),
    "style=ink": "ink",
    "framed=TRUE": True,
    "file=a, b=[c].png": Path.cwd() / "a, b=[c].png",
    "file=~/x": Path.home() / "x",
    "file=~x": Path.cwd() / "~x",
    "subject=2024": "2024",
}


@pytest.mark.parametrize("word", VALUES)
def test_text_becomes_a_value_of_the_annotations_type(word):
    name = word.partition("=")[0]
    said = PAINT.read([word] if name == "subject" else ["subject=a", word])
    assert not said.wrong
    assert said.values[name] == VALUES[word] and type(said.values[name]) is type(VALUES[word])
    assert name in said.given


WRONG = {
    "sides=2": "sides=2: must be a whole number from 3 to 12",
    "sides=4.0": "sides=4.0: must be a whole number from 3 to 12",
    f"sides={'9' * 5000}": "must be a whole number from 3 to 12",
    "sides=٤": "must be a whole number",
    "scale=0": "scale=0: must be a number more than 0",
    "scale=nan": "scale=nan: must be a number more than 0",
    "scale=1e999": "must be a number more than 0",
    "scale=1/0": "must be a number more than 0",
    "levels=0,0": "must be different numbers from 0 to 1, with commas between them",
    "levels=0,1.5": "must be different numbers from 0 to 1",
    "colours=green,red": "must be one or more of red, blue",
    "style=inc": "style=inc: must be one of oil, ink (nearest: ink)",
    "framed=yes": "framed=yes: must be true or false",
    "file=": "file=: must not be empty (null means none)",
    "file=a\0b": "must not hold a NUL",
    "sides=4 sides=5": "sides is given 2 times",
    "sidse=4": "unknown key sidse; nearest: sides",
    "corners=4": "unknown key corners; write sides",
    "optimizer.lr=1": "optimizer.lr belongs to training; nothing is trained here: optimizer.lr=1",
    "zzz=1": "unknown key zzz; there is: subject, sides",
    "tree": "'tree': must be key=value, such as subject=tree",
    "--sides 5": "--sides: options are written key=value: sides=5",
    "--sides=5": "--sides=5: options are written key=value: sides=5",
    "elsewhere=1": "elsewhere is a key of others",
}


@pytest.mark.parametrize("line", WRONG)
def test_every_mistake_names_key_value_and_what_is_right(line):
    words = [line] if line.startswith("file=") else line.split(" ")
    said = read(*words, elsewhere={"elsewhere": "elsewhere is a key of others"})
    assert len(said.wrong) == 1 and said.wrong[0].startswith("command line: ")
    assert WRONG[line] in said.wrong[0]


def test_all_mistakes_are_raised_together():
    said = PAINT.read(["sides=2", "style=x", "style=y"], multirun=True)
    said.idle(["style", "scale"], "without paint")
    said.idle(["style"], "without paint")
    with pytest.raises(UserError) as refused:
        said.refuse()
    assert [one.removeprefix("command line: ") for one in refused.value.messages] == [
        "-m is not taken: one at a time",
        "subject is needed: subject=SUBJECT, what to paint",
        "sides=2: must be a whole number from 3 to 12",
        "style is given 2 times",
        "style does nothing without paint",
    ]
    read().refuse()


def test_what_may_be_repeated_is_put_together_and_other_words_are_passed_on():
    said = read("more.notes=a,b", "lengths=four", "more.notes=c", "lengths=a,b", "data.root=x", "+data.y=1", "~data.z")
    assert (said.values["notes"], said.values["lengths"]) == (("a", "b", "c"), (4, 3))
    assert said.overrides == ["data.root=x", "+data.y=1", "~data.z"] and not said.wrong


def test_words_and_everything_else_go_where_the_script_wants_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").write_text("")
    table = {"job": Painting, "script": "x.py", "title": "", "usage": (), "examples": (), "ending": ""}
    said = Command(**table, words="RUN").read(["subject=a", "first", "a=b", "runs/k=v", "tree=1"])
    assert said.words == ["first", "a=b", "runs/k=v"]
    assert len(said.wrong) == 1 and "unknown key tree" in said.wrong[0]
    said = Command(**table, overrides=EVERYTHING).read(["subject=a", "epochs=3", "optimizer.lrr=1", "sidse=4", "first"])
    assert said.overrides == ["epochs=3", "optimizer.lrr=1", "first"]
    assert said.wrong == ["command line: unknown key sidse; nearest: sides"]


def test_help_and_dump_are_made_from_the_table(capsys):
    page = PAINT.format_help().splitlines()
    assert "  sides       corners of the frame (from 3 to 12; default 4)" in page
    assert "  scale       enlargement (more than 0; default the canvas's)" in page
    assert "  levels      shades (from 0 to 1; default 0,0.5)" in page
    assert "  style       what with (oil, ink; default oil)" in page
    assert "  subject     what to paint" in page and "  colours=red   warm" in page
    assert "  python paint.py subject=tree" in page and "  torchrun paint.py subject=sea" in page
    assert list(keys_of(Painting))[-1] == "traceback" and page[-1] == "Done."

    def compose_jobs(words, multirun):
        said = PAINT.read(words, multirun)
        said.refuse()
        return [Painting(**said.values, command=list(words))]

    words = ["subject=Ä: b", "levels=0,1/4", "file=/x", "--cfg", "job"]
    assert launch(lambda job: pytest.fail("it ran"), words, compose_jobs=compose_jobs) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["subject"], shown["levels"], shown["file"], shown["scale"]) == ("Ä: b", [0.0, 0.25], "/x", None)
    assert shown["command"] == words[:3]


@pytest.mark.parametrize("script", ["augment", "compare", "evaluate", "explore", "predict"])
def test_all_scripts_say_the_same_of_the_same_mistake(script):
    module = import_module(f"settings.commands.{script}")
    assert script in module.COMMAND.script
    said = module.COMMAND.read(["output=a.csv", "outptu=b.csv", "output=", "--output", "c"])
    assert "command line: unknown key outptu; nearest: output" in said.wrong
    assert any("given 2 times" in one or "output=: must not be empty" in one for one in said.wrong)
    with pytest.raises(UserError, match="output=c"):
        module.compose_jobs(["--output", "c"], multirun=False)
