"""Runs grouped by all that is set but the seed; what differs between the groups, and which may be ranked together."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.comparison.runs import Run, number
from reports.comparison.significance import Spread, limits_of, spread
from reports.setting_values import INERT, INERT_SECTIONS, canonical, text
from settings.commands.compare import Condition
from settings.errors import UserError, nearest

LOWER_IS_BETTER = ("loss", "seconds", "parameters", "epoch", "steps", "error")
ABSENT = "–"
MOST_NAMED = 12
"""Runs that a note names."""


@dataclass(frozen=True, eq=False)
class Idea:
    """Runs that differ in nothing but the seed, by seed; a run of another status than finished stands alone."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The run of the lowest seed, which stands for what they share."""
        return self.runs[0]

    @property
    def finished(self) -> bool:
        """Whether its figures can be ranked."""
        return self.first.status == "finished"

    @property
    def label(self) -> str:
        """The name of the first run, and how many more there are."""
        more = f" +{len(self.runs) - 1}" if len(self.runs) > 1 else ""
        return f"{self.first.label}{more}"

    @property
    def seeds(self) -> str:
        """The seeds, as text."""
        return ", ".join(ABSENT if run.seed is None else str(run.seed) for run in self.runs)

    def by_seed(self, key: str) -> dict[int, float]:
        """Seed -> value of a metric or figure, of the runs that have it."""
        found = {run.seed: number(run.value(key)) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}

    def spread(self, key: str) -> Spread | None:
        """A metric or figure over the seeds; None where no run has it."""
        values = list(self.by_seed(key).values())
        return spread(values, limits_of(key)) if values else None


def settings(run: Run) -> dict[str, Any]:
    """What makes the idea: the configuration without the keys that only name, place or watch a run."""
    return {k: v for k, v in run.config.items() if k not in INERT and not k.startswith(INERT_SECTIONS)}


def group(runs: Iterable[Run], *, each_seed: bool, keep_all: bool) -> tuple[list[Idea], list[str]]:
    """Make ideas of runs: of the same idea and seed, the last one started counts, and a note names the others.

    Args:
        runs: in any order.
        each_seed: make an idea of every run.
        keep_all: a run that is repeated is an idea of its own, and not left out: the user has named it.
    """
    groups: dict[Any, dict[Any, Run]] = {}
    repeated: list[Run] = []
    for run in sorted(runs, key=lambda one: number(one.facts.get("started")) or 0.0):
        key: Any = run.folder
        if run.status == "finished" and not each_seed:
            ground = (run.facts.get("data_fingerprint"), run.test_images, run.val_images)
            key = (ground, repr(sorted((name, canonical(value)) for name, value in settings(run).items())))
        inner = groups.setdefault(key, {})
        if run.seed in inner:
            repeated.append(inner[run.seed])
        inner[run.seed] = run
    ideas = [Idea(tuple(inner[seed] for seed in sorted(inner, key=str))) for inner in groups.values()]
    if not repeated:
        return ideas, []
    those = ", ".join(run.label for run in repeated[:MOST_NAMED]) + (", ..." if len(repeated) > MOST_NAMED else "")
    if keep_all:
        ideas += [Idea((run,)) for run in repeated]
        return ideas, [f"the same idea and seed was run again later: {those} stand in rows of their own"]
    return ideas, [
        f"left out: {those}; the same idea and seed was run again later, and that run counts (seeds=each shows all)"
    ]


def differing(ideas: Sequence[Idea]) -> tuple[list[str], list[str]]:
    """The keys of which the ideas have different values, in the order of the file; and notes on the others.

    A key that only some ideas have, with one value, follows from something else: from the name in its section
    (`model.depth` from `model.name`), or from its section being there at all, whose name is then the key.
    """
    known = [settings(idea.first) for idea in ideas if idea.first.config]
    keys = list(dict.fromkeys(key for one in known for key in one))
    found: dict[str, None] = {}
    unclear: list[str] = []
    for key in keys:
        values = {canonical(one[key]) for one in known if key in one}
        everywhere = all(key in one for one in known)
        section, _, last = key.rpartition(".")
        if last == "_target_" and f"{section}.name" in keys:
            continue
        if len(values) > 1:
            found[key] = None
        elif not everywhere and section.count("."):
            found[section] = None
        elif not everywhere and (not section or len({one.get(f"{section}.name") for one in known}) == 1):
            unclear.append(key)
    for key in [key for key in found if any(other.startswith(f"{key}.") for other in found)]:
        del found[key]  # the arguments that differ say more than that the section is there
    notes = [f"not in every config.yaml, so not compared: {', '.join(unclear)}"] if unclear else []
    return list(found), notes


def setting(run: Run, key: str) -> Any:
    """The value of a key for a table; a section that is there is "on", one that is not is "off"."""
    value = run.value(key)
    if value is None and key not in run.config:
        return "on" if any(one.startswith(f"{key}.") for one in run.config) else ABSENT
    return value


def choose_metric(runs: Sequence[Run], by: str | None) -> str:
    """The metric that is shown: `by` if it is one, else the test accuracy, else what most runs watched."""
    finished = [run for run in runs if run.status == "finished"]
    if by is not None and by not in ("run", "status", "seed"):
        known = [run for run in runs if by in run.metrics or isinstance(run.facts.get(by), int | float)]
        if known:
            return by
    first = [f"test/{next(iter(run.modes), 'accuracy')}" for run in finished]
    tested = [name for name, run in zip(first, finished, strict=True) if name in run.metrics]
    if tested:
        return max(sorted(set(tested)), key=tested.count)
    monitors = [str(run.facts["monitor"]) for run in finished if "monitor" in run.facts]
    return max(sorted(set(monitors)), key=monitors.count, default="val/accuracy")


def highest_first(key: str, order: str | None, runs: Sequence[Run]) -> bool:
    """Whether more is better: as `order` says, else as the runs say of a metric of theirs."""
    if order:
        return order == "highest"
    modes = {run.modes[name] for run in runs if (name := key.partition("/")[2]) in run.modes}
    return "max" in modes if modes else not any(word in key for word in LOWER_IS_BETTER)


def same_ground(run: Run, metric: str) -> tuple[Any, ...]:
    """What has to be equal for two figures of a metric to be about the same: data, images, how many of them."""
    split = metric.partition("/")[0]
    fingerprint = run.facts.get("data_fingerprint")
    if split not in ("test", "val"):
        return (fingerprint,)
    limit = run.config.get(f"trainer.limit_{split}_batches")
    size = run.config.get("data.batch_size") if limit is not None else None
    return fingerprint, run.test_images if split == "test" else run.val_images, limit, size


def check_keys(runs: Sequence[Run], wanted: Mapping[str, Iterable[str]]) -> None:
    """Refuse keys that no run has.

    Args:
        runs: all that were found.
        wanted: the word on the command line -> keys.

    Raises:
        UserError: all of them, with the nearest.
    """
    known = dict.fromkeys(key for run in runs for key in run.known_keys())
    wrong = []
    for word, keys in wanted.items():
        for key in keys:
            if key not in known and f"{key}.name" not in known and not any(one.startswith(f"{key}.") for one in known):
                close = nearest(key, known) or nearest(key, [one for one in known if one.endswith(key)], cutoff=0.1)
                hint = f"; nearest: {', '.join(close)}" if close else ""
                wrong.append(f"command line: {word}={key}: no run has it{hint}")
    if wrong:
        raise UserError(*wrong)


def fits(run: Run, condition: Condition) -> bool:
    """Whether a run meets a condition; never, where it has no such key."""
    if condition.key not in run.known_keys() and f"{condition.key}.name" not in run.config:
        return False
    value, wanted = run.value(condition.key), condition.value
    left, right = (None if isinstance(value, bool) else number(value)), number(wanted)
    if condition.sign in ("=", "!="):
        equal = left == right if left is not None and right is not None else fnmatch.fnmatchcase(text(value), wanted)
        return equal == (condition.sign == "=")
    if left is None or right is None:
        return False
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[condition.sign]
