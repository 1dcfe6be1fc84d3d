"""Compare ways of doing the same work: interleaved rounds, CPU time of one thread, ratios with their spread.

Each benchmark is a module with `run() -> list[Row]`, or of `Agreement` where it compares results and not times, and
runs alone as `python -m benchmarks.NAME`; whole numbers among the arguments of its `run` are options of that command
(`--rounds 9`). `python -m benchmarks.all` runs them all. Nothing asserts a time: a shared machine would make it lie.
"""

import argparse
import inspect
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from settings.errors import UserError

ROUNDS = 7
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes:
        what: the work.
        against: what it is compared with.
        ratio: median over the rounds of (their time / our time): above 1 we are faster. Where `lower_is_better`, of
            (our time / their time): how many times as long we take.
        low, high: smallest and largest ratio of a round.
        goal: what the ratio ought to reach, or None.
        seconds: median time of each way.
        note: what else to know.
    """

    what: str
    against: str
    ratio: float
    low: float
    high: float
    goal: float | None
    seconds: Mapping[str, float]
    lower_is_better: bool = False
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.ratio <= self.goal if self.lower_is_better else self.ratio >= self.goal


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a net's predictions on images made in one way agree with those on the same images made in another.

    Attributes:
        what: the images.
        way: how they are made.
        against: the way to agree with.
        same: share of the images with the same first class.
        divergence: mean Kullback-Leibler divergence of the probabilities, in nats.
        pixels: mean absolute difference of the pixels that the net sees, of 255.
    """

    what: str
    way: str
    against: str
    same: float
    divergence: float
    pixels: float


AGREEMENT_HEAD = ("images", "way", "against", "same first class", "divergence, nats", "pixels, of 255")


def interleaved(
    ways: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Time each way once a round, one after the other, A B A B; the first round warms up and does not count.

    A way may return the seconds it took itself, as a float.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = clock()
            own = way()
            taken = own if isinstance(own, float) else clock() - start
            if number:
                times[name].append(taken)
    return times


def compared(
    what: str,
    times: Mapping[str, Sequence[float]],
    *,
    ours: str,
    theirs: str,
    goal: float | None = None,
    lower_is_better: bool = False,
    note: str = "",
) -> Row:
    """Compare two of the ways, round by round."""
    pairs = list(zip(times[ours], times[theirs], strict=True))
    ratios = [mine / other if lower_is_better else other / mine for mine, other in pairs]
    return Row(
        what=what,
        against=theirs,
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        goal=goal,
        seconds={name: statistics.median(taken) for name, taken in times.items()},
        lower_is_better=lower_is_better,
        note=note,
    )


def one_thread() -> None:
    """Compute in one thread, whatever the machine has."""
    import torch

    torch.set_num_threads(1)


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    import lightning
    import torch
    import torchvision

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{model}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "packages": ", ".join(f"{one.__name__} {one.__version__}" for one in (torch, torchvision, lightning)),
    }


def table(rows: Sequence[Row | Agreement]) -> str:
    """A Markdown table, or one of each kind of row."""
    lines = []
    if times := [row for row in rows if isinstance(row, Row)]:
        lines += ["| what | against | ratio | range | goal | |", "|---|---|---|---|---|---|"]
    for row in times:
        goal = "" if row.goal is None else f"{'at most' if row.lower_is_better else 'at least'} {row.goal:g}"
        verdict = {None: "", True: "reached", False: "**not reached**"}[row.reached]
        said = f"{verdict}{'; ' if verdict and row.note else ''}{row.note}"
        lines.append(
            f"| {row.what} | {row.against} | {row.ratio:.2f} | {row.low:.2f} to {row.high:.2f} | {goal} | {said} |"
        )
    if agreements := [row for row in rows if isinstance(row, Agreement)]:
        lines += [*([""] if times else []), f"| {' | '.join(AGREEMENT_HEAD)} |", "|---" * len(AGREEMENT_HEAD) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(agreement_cells(one))} |" for one in agreements)])


def agreement_cells(one: Agreement) -> tuple[str, ...]:
    """What stands under `AGREEMENT_HEAD`."""
    return one.what, one.way, one.against, f"{one.same:.2f}", f"{one.divergence:.5f}", f"{one.pixels:.3f}"


def main(name: str, run: Callable[..., Sequence[Row | Agreement]], arguments: Sequence[str] | None = None) -> None:
    """Run one benchmark alone: print its table, write its JSON.

    Args:
        name: of the benchmark's module.
        run: measures; its keyword arguments that are whole numbers can be set on the command line.
        arguments: the command line; None takes the process's own.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        rows = run(**options(name, run, arguments))
    except UserError as error:  # such as a package that is not installed
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    write_json(name, rows, arguments)
    print(table(rows), flush=True)
    sys.exit(0)


def options(
    name: str, run: Callable[..., Sequence[Row | Agreement]], arguments: Sequence[str] | None = None
) -> dict[str, int]:
    """What the command line says of the whole numbers among the arguments of `run`."""
    said = (inspect.getdoc(inspect.getmodule(run)) or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=said)
    for key, parameter in inspect.signature(run).parameters.items():
        flag = f"--{key.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=parameter.default, help=f"default: {parameter.default}")
    return vars(parser.parse_args(arguments))


def write_json(name: str, rows: Sequence[Row | Agreement], arguments: Sequence[str] = ()) -> None:
    """Keep what was found, with the command, the machine, the versions and the date."""
    RESULTS.mkdir(exist_ok=True)
    command = " ".join(("python -m", f"benchmarks.{name}", *arguments))
    found = {
        "machine": {"command": command, **machine()},
        "rows": [{**asdict(row), "reached": row.reached} for row in rows if isinstance(row, Row)],
        "agreements": [asdict(row) for row in rows if isinstance(row, Agreement)],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read_json(name: str) -> tuple[dict[str, str], list[Row], list[Agreement]]:
    """Read back what `write_json` kept: command and machine, and the rows of each kind."""
    found = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    rows = [Row(**{key: row[key] for key in Row.__dataclass_fields__}) for row in found["rows"]]
    return found["machine"], rows, [Agreement(**one) for one in found.get("agreements", ())]
