"""The command line of `compare.py`: run folders and its keys, strictly checked; standard library only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from settings.commands.command import Command, Job
from settings.commands.keys import file_mistakes, key
from settings.paths import ROOT

ENDINGS = (".csv", ".md", ".tex", ".html")
_CONDITION = re.compile(r"([^=!<>]+)(!=|<=|>=|=|<|>)(.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One `where=`: `key` in dots, `sign` one of = != < <= > >=, `value` as typed."""

    key: str
    sign: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}{self.sign}{self.value}"


def _condition(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError("must be KEY=VALUE, such as where=model.name=resnet20")
    return Condition(key=match[1].strip(), sign=match[2], value=match[3].strip())


@dataclass(frozen=True, kw_only=True)
class Comparison(Job):
    """What is compared with what, and where it is written; `wanted` is empty for all runs."""

    by: str | None = key(
        None, "what to order by: a metric (test/accuracy), a figure (train_seconds), a key (optimizer.lr)"
    )
    order: Literal["highest", "lowest"] | None = key(
        None, "what comes first; else losses, times and sizes lowest, other metrics highest"
    )
    where: tuple[Condition, ...] = key(
        (),
        "only some runs: KEY=VALUE, also != < <= > >=, and * in VALUE; may be repeated",
        read=_condition,
        repeat=True,
    )
    columns: tuple[str, ...] = key(
        (), "more columns, comma-separated: metrics, figures of summary.json, keys of config.yaml", repeat=True
    )
    seeds: Literal["mean", "each"] = key(
        "mean", "mean: runs that differ in the seed alone are one row; each: one a run"
    )
    against: str | None = key(None, "the run whose row the others are compared with, pair by pair; else the first row")
    outputs: tuple[Path, ...] = key(
        (), f"a file that ends in {', '.join(ENDINGS)}; may be repeated", name="output", repeat=True
    )
    runs: Path = key(ROOT / "runs", "the folder of all runs", name="paths.runs", shown="runs")
    wanted: tuple[str, ...] = ()


COMMAND = Command(
    job=Comparison,
    script="compare.py",
    title="Lightbox compares runs.",
    usage=["[RUN ...] [KEY=VALUE ...]"],
    notes=[
        "RUN is a run folder, a name under the runs folder, a checkpoint, a folder of runs or a quoted glob;",
        "several are separated by spaces or commas. Without one: all runs.",
        "Means over seeds come with their 95 % t-interval, pairs of rows with paired tests. Tests over the",
        "same images need predictions: `python evaluate.py run=RUN` writes them.",
    ],
    examples=[
        "by=test/accuracy",
        "fashion_mnist-lenet5 where=optimizer.name=adamw columns=train_seconds",
        "'runs/*/first*' 'where=test/accuracy>0.9' output=table.tex output=page.html",
        "first second against=first",
    ],
    ending="The last line for each file says `table: PATH`. Exit codes: 0 done, 1 a bug, 2 no such run or key.",
    training="to filter by it: where=WORD",
    words="RUN",
    no_grid="compare.py takes many runs at once, but makes no grid",
)


def compose_jobs(arguments: Sequence[str], multirun: bool) -> list[Comparison]:
    """The one checked job.

    Raises:
        UserError: all mistakes together.
    """
    from settings.run_names import runs_folder

    said = COMMAND.read(arguments, multirun)
    for path in said.values["outputs"]:
        said.wrong += file_mistakes("output", path, ENDINGS)
    said.refuse()
    if "paths.runs" not in said.given:
        said.values["runs"] = runs_folder()
    return [Comparison(**said.values, wanted=tuple(said.words), command=list(arguments))]
