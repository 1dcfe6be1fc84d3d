"""The command line of `compare.py`: run folders and its keys, strictly checked; standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from settings.errors import UserError, nearest, shorten

ENDINGS = (".csv", ".md", ".tex", ".html")

OWN = {
    "by": "what to order by: a metric (test/accuracy), a figure (train_seconds), a key (optimizer.lr)",
    "order": "highest or lowest first; else losses, times and sizes lowest, other metrics highest",
    "where": "only some runs: KEY=VALUE, also != < <= > >=, and * in VALUE; may be given several times",
    "columns": "more columns, comma-separated: metrics, figures of summary.json, keys of config.yaml",
    "seeds": "mean: runs that differ in nothing but the seed are one row; each: one row a run (mean)",
    "against": "the run whose row the others are compared with, pair by pair; else the first row",
    "output": f"a file that ends in {', '.join(ENDINGS)}; may be given several times",
    "paths.runs": "the folder of all runs (runs)",
    "traceback": "true shows where a mistake was found (false)",
}
"""The keys, and what each does."""

CHOICES = {"order": ("highest", "lowest"), "seeds": ("mean", "each"), "traceback": ("true", "false")}
"""Values of the keys that have few."""

_CONDITION = re.compile(r"([^=!<>]+)(!=|<=|>=|=|<|>)(.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One `where=`: `key` in dots, `sign` one of = != < <= > >=, `value` as typed."""

    key: str
    sign: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared with what, and where it is written; `wanted` is empty for all runs."""

    wanted: list[str]
    runs: Path
    by: str | None = None
    order: str | None = None
    where: list[Condition] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    each_seed: bool = False
    against: str | None = None
    outputs: list[Path] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    traceback: bool = False
    dropped_augment: tuple[str, ...] = ()

    def to_yaml(self) -> str:
        """The command line, one argument a line."""
        return "".join(f"- {word!r}\n" for word in self.command)


def format_help() -> str:
    """The help page."""
    width = max(map(len, OWN)) + 2
    return "\n".join(
        [
            "Lightbox compares runs.",
            "",
            "  python compare.py [RUN ...] [KEY=VALUE ...]",
            "",
            "RUN is a run folder, a name under the runs folder, a checkpoint, a folder of runs or a quoted glob;",
            "several are separated by spaces or commas. Without one: all runs.",
            "",
            "Keys:",
            *(f"  {name:<{width}}{meaning}" for name, meaning in OWN.items()),
            "",
            "Examples:",
            "  python compare.py by=test/accuracy",
            "  python compare.py fashion_mnist-lenet5 where=optimizer.name=adamw columns=train_seconds",
            "  python compare.py 'runs/*/first*' 'where=test/accuracy>0.9' output=table.tex output=page.html",
            "  python compare.py first second against=first",
            "",
            "Means over seeds come with their 95 % t-interval, pairs of rows with paired tests. Tests over the",
            "same images need predictions: `python evaluate.py run=RUN` writes them.",
            "The last line for each file says `table: PATH`. Exit codes: 0 done, 1 a bug, 2 no such run or key.",
        ]
    )


def compose_jobs(arguments: Sequence[str], multirun: bool) -> list[Comparison]:
    """The one checked job.

    Raises:
        UserError: all mistakes together.
    """
    from settings.runs import rooted

    given: dict[str, list[str]] = {}
    wanted: list[str] = []
    wrong = ["-m: compare.py takes many runs at once, but makes no grid"] if multirun else []
    for text in arguments:
        key, equals, value = text.partition("=")
        if equals and key in OWN:
            given.setdefault(key, []).append(value)
        elif text.startswith("-"):
            wrong.append(f"{text}: options are written key=value; keys: {', '.join(OWN)}")
        elif equals and "/" not in key and not Path(text).exists():
            close = ", ".join(nearest(key, OWN)) or ", ".join(OWN)
            hint = f"; to filter by it: where={text}" if "." in key else f"; nearest: {close}"
            wrong.append(f"unknown key {key}{hint}")
        elif text.strip():
            wanted.append(text)
    wrong += [
        f"{key}: is given {len(values)} times"
        for key, values in given.items()
        if len(values) > 1 and key not in ("where", "columns", "output")
    ]
    last = {key: values[-1] for key, values in given.items()}
    for key, choices in CHOICES.items():
        if last.get(key) and last[key].lower() not in choices:
            wrong.append(f"{key}={last[key]:.40}: must be {' or '.join(choices)}")
    wrong += [f"{key}=: a value is missing" for key in OWN if "" in given.get(key, ())]
    conditions, found = _conditions(given.get("where", []))
    outputs, unfit = _outputs(given.get("output", []))
    wrong += [*found, *unfit]
    if wrong:
        raise UserError(*shorten([f"command line: {one}" for one in wrong]))
    comparison = Comparison(
        wanted=wanted,
        runs=Path.cwd() / Path(last["paths.runs"]).expanduser() if "paths.runs" in last else rooted("runs"),
        by=last.get("by"),
        order=last.get("order"),
        where=conditions,
        columns=[one.strip() for text in given.get("columns", []) for one in text.split(",") if one.strip()],
        each_seed=last.get("seeds") == "each",
        against=last.get("against"),
        outputs=outputs,
        command=list(arguments),
        traceback=last.get("traceback", "").lower() == "true",
    )
    return [comparison]


def _conditions(texts: Sequence[str]) -> tuple[list[Condition], list[str]]:
    found, wrong = [], []
    for text in texts:
        if match := _CONDITION.fullmatch(text):
            found.append(Condition(key=match[1].strip(), sign=match[2], value=match[3].strip()))
        elif text:
            wrong.append(f"where={text[:60]}: must be KEY=VALUE, such as where=model.name=resnet20")
    return found, wrong


def _outputs(texts: Sequence[str]) -> tuple[list[Path], list[str]]:
    found, wrong = [], []
    for text in filter(None, texts):
        path = Path(text).expanduser()
        if path.suffix.lower() not in ENDINGS or "\0" in text:
            wrong.append(f"output={text[:80]!r}: must be a file that ends in {', '.join(ENDINGS)}")
        elif path.is_dir():
            wrong.append(f"output={text[:80]!r}: is a folder; name a file in it")
        else:
            found.append(Path.cwd() / path)
    return found, wrong
