"""Run every benchmark, each in a process of its own, and write what they found into RESULTS.md.

`python -m benchmarks.all` runs them all, one after the other; one that fails does not stop the others. Names choose
some (`python -m benchmarks.all fit loader`), and `--write-only` writes the file anew from the JSONs that are there.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import AGREEMENT_HEAD, RESULTS, Row, agreement_cells, read_json

HERE = Path(__file__).parent
PAGE = HERE / "RESULTS.md"
ORDER = (
    "fit",
    "loop_overhead",
    "small_images",
    "loader",
    "jpeg",
    "workers",
    "normalise",
    "precision",
    "time_to_accuracy",
    "startup",
    "worker_memory",
    "antialias",
)
"""How they are listed; any other follows."""
INTRODUCTION = """# What was measured

Each benchmark does the same work our way and the peer's, in turns, and compares round by round: the median of the
ratios, and the smallest and largest. CPU time of one thread, unless a line says otherwise. "At most" is our time over
the peer's, "at least" the peer's over ours. `python -m benchmarks.all` writes this page.
"""
AGREEMENT = """
## Agreement of predictions

The same images, made in different ways, before one pretrained net: the share with the same first class, the mean
Kullback-Leibler divergence of the probabilities, and the mean difference of the pixels. Not times.
"""


def names() -> list[str]:
    """Every benchmark there is, in order: the files that can be run."""
    found = {path.stem for path in HERE.glob("*.py") if f'main("{path.stem}", run)' in path.read_text(encoding="utf-8")}
    return [*(name for name in ORDER if name in found), *sorted(found - set(ORDER))]


def page(results: Sequence[str]) -> str:
    """RESULTS.md, of the benchmarks whose JSON is there; the others are named."""
    lines, agreements, machines, missing = [], [], {}, []
    for name in results:
        if not (RESULTS / f"{name}.json").is_file():
            missing.append(name)
            continue
        machine, rows, agreed = read_json(name)
        machines[name] = machine
        lines += [line(row, machine["command"], machine["date"]) for row in rows]
        end = f"`{machine['command']}`", machine["date"]
        agreements += [f"| {' | '.join((*agreement_cells(one), *end))} |" for one in agreed]
    text = [INTRODUCTION, *measured_on(machines)]
    text += [
        "",
        "| what | against | wanted | reached | range | | command | date |",
        "|---|---|---|---|---|---|---|---|",
        *lines,
    ]
    if agreements:
        head = (*AGREEMENT_HEAD, "command", "date")
        text += [AGREEMENT, f"| {' | '.join(head)} |", "|---" * len(head) + "|", *agreements]
    if missing:
        text += ["", f"Not measured: {', '.join(f'`{name}`' for name in missing)}."]
    return "\n".join(text) + "\n"


def measured_on(machines: dict[str, dict[str, str]]) -> list[str]:
    """A line for each machine with its versions, and which benchmarks ran there."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, machine in machines.items():
        groups.setdefault(tuple(machine[key] for key in ("processor", "system", "packages")), []).append(name)
    return [f"- {'; '.join(group)}: {', '.join(ran)}" for group, ran in groups.items()]


def line(row: Row, command: str, date: str) -> str:
    """A row of the table."""
    wanted = "" if row.goal is None else f"{'at most' if row.lower_is_better else 'at least'} {row.goal:g}"
    verdict = {None: "", True: "reached", False: "**missed**"}[row.reached]
    said = "; ".join(part for part in (verdict, row.note) if part)
    found = f"{row.ratio:.2f}", f"{row.low:.2f} to {row.high:.2f}"
    return f"| {' | '.join((row.what, row.against, wanted, *found, said, f'`{command}`', date))} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, then write; returns how many failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.all", description="Run every benchmark.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(names())}; default: all")
    parser.add_argument("--write-only", action="store_true", help="run none; write RESULTS.md from the JSONs")
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.names) - set(names())):
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(names())}")
    failed = []
    for name in [] if asked.write_only else asked.names or names():
        print(f"\n{name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=HERE.parent)
        if done.returncode:
            failed.append(name)
            print(f"{name} failed with exit code {done.returncode}", flush=True)
    PAGE.write_text(page(names()), encoding="utf-8")
    print(f"\nwritten: {PAGE.relative_to(HERE.parent)}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
