"""What a comparison found: rows in order, the columns that tell them apart, tests pair by pair, and warnings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.comparison import ideas as grouping
from reports.comparison.ideas import Idea, setting
from reports.comparison.names import row_names
from reports.comparison.runs import STATUSES, Run, find_folders, number, read_run
from reports.comparison.significance import (
    PairedImages,
    PairedSeeds,
    Spread,
    limits_of,
    paired_seeds,
    read_predictions,
    same_images,
)
from settings.commands.compare import Comparison
from settings.errors import UserError

MOST_PAIRS = 12


@dataclass(frozen=True, kw_only=True)
class Row:
    """One idea: its place among those that it can be ranked with, from 1; None for one that is not finished.

    It is called by what it differs in from the others of its ranking.
    """

    idea: Idea
    name: str
    rank: int | None
    block: int | None
    spread: Spread | None
    cells: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two ideas over the same seeds or the same images; `images` by the name of the evaluation."""

    first: Idea
    second: Idea
    seeds: PairedSeeds | None
    images: dict[str, PairedImages]


@dataclass(kw_only=True)
class Result:
    """All that is shown: `metric` ranks, `columns` tell the rows apart, `notes` say what to be careful with."""

    metric: str
    rows: list[Row]
    columns: list[str]
    differing: list[str]
    pairs: list[Pair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def blocks(self) -> int:
        """How many rankings there are."""
        return len({row.block for row in self.rows if row.block is not None})


def compare_runs(job: Comparison) -> Result:
    """Read the runs, filter, group, rank and test them.

    Raises:
        UserError: no such run or key, or none that is left by `where`.
    """
    found = [read_run(folder) for folder in find_folders(job.wanted, job.runs)]
    asked = {"by": [job.by] if job.by else [], "where": [one.key for one in job.where], "columns": job.columns}
    grouping.check_keys(found, asked)
    runs = [run for run in found if all(grouping.fits(run, condition) for condition in job.where)]
    if not runs:
        raise UserError(f"command line: where: none of {len(found)} runs fits")
    metric = grouping.choose_metric(runs, job.by)
    ideas, notes = grouping.group(runs, each_seed=job.seeds == "each", keep_all=bool(job.wanted))
    differing, more = _differing(ideas, metric)
    result = Result(metric=metric, rows=[], columns=_columns(job, metric, differing), differing=differing)
    result.rows = _rows(ideas, result.columns, metric, highest=grouping.highest_first(metric, job.order, runs))
    if job.by is not None and job.by != metric:
        result.rows.sort(key=lambda row: _sort_key(row.idea.first.value(job.by or ""), job.order))
    result.notes = [*_cautions(result, ideas), *notes, *more]
    _pair(result, job)
    return result


def _rankings(ideas: Iterable[Idea], metric: str) -> list[list[Idea]]:
    """The ideas that can be ranked with each other, the largest ranking first."""
    blocks: dict[tuple[Any, ...], list[Idea]] = {}
    for idea in ideas:
        if idea.finished and idea.spread(metric) is not None:
            blocks.setdefault(grouping.same_ground(idea.first, metric), []).append(idea)
    return sorted(blocks.values(), key=len, reverse=True)


def _differing(ideas: Sequence[Idea], metric: str) -> tuple[list[str], list[str]]:
    """The keys in which ideas of one ranking differ, their data sets, and notes; of all ideas where none is ranked."""
    everywhere, notes = grouping.differing(ideas)
    rankings = _rankings(ideas, metric)
    within = {key for ranking in rankings for key in grouping.differing(ranking)[0]}
    if not rankings:
        return everywhere, notes
    if len({str(ranking[0].first.config.get("data.name")) for ranking in rankings}) > 1:
        within.add("data.name")  # which tells the rankings apart
    return [*(key for key in everywhere if key in within), *sorted(within - set(everywhere))], notes


def _columns(job: Comparison, metric: str, differing: Sequence[str]) -> list[str]:
    asked = [*([job.by] if job.by else []), *job.columns]
    return [key for key in dict.fromkeys([*asked, *differing]) if key not in (metric, "run", "status", "seed")]


def _rows(ideas: Sequence[Idea], columns: Sequence[str], metric: str, *, highest: bool) -> list[Row]:
    """Finished ideas of the largest common ground first, best first; then all others by status."""
    rankings = _rankings(ideas, metric)
    ranked = {idea for ranking in rankings for idea in ranking}

    def row(idea: Idea, name: str, rank: int | None, block: int | None) -> Row:
        cells = {key: _cell(idea, key) for key in columns}
        return Row(idea=idea, name=name, rank=rank, block=block, spread=idea.spread(metric), cells=cells)

    rows = []
    for number_of, ranking in enumerate(rankings):
        names = dict(zip(ranking, row_names(ranking), strict=True))
        means = {idea: idea.spread(metric).mean for idea in ranking}  # type: ignore[union-attr]
        ordered = sorted(ranking, key=lambda idea: (-means[idea] if highest else means[idea], idea.label))
        for idea in ordered:
            rank = 1 + sum(means[one] > means[idea] if highest else means[one] < means[idea] for one in ranking)
            rows.append(row(idea, names[idea], rank, number_of))
    others = [idea for idea in ideas if idea not in ranked]
    others.sort(key=lambda idea: (STATUSES.index(idea.first.status), idea.label))
    return [*rows, *(row(idea, idea.label, None, None) for idea in others)]


def _cell(idea: Idea, key: str) -> Any:
    """A setting of the idea, or the mean of a figure over its seeds."""
    value = setting(idea.first, key)
    if len(idea.runs) > 1 and key not in idea.first.config and number(value) is not None:
        found = idea.spread(key)
        return value if found is None or isinstance(value, bool | str) else found.mean
    return value


def _sort_key(value: Any, order: str | None) -> tuple[int, float, str]:
    """Numbers in order, then texts, then what is not there."""
    sign = -1.0 if order == "highest" else 1.0
    found = None if isinstance(value, bool) else number(value)
    return (0, sign * found, "") if found is not None else (1 if value is not None else 2, 0.0, grouping.text(value))


def _cautions(result: Result, ideas: Sequence[Idea]) -> list[str]:
    """What must not be read into the table."""
    notes = []
    ranked = [row.idea.first for row in result.rows if row.rank is not None]
    finished = [idea for idea in ideas if idea.finished]
    if result.blocks > 1:
        what = []
        if len({run.facts.get("data_fingerprint") for run in ranked}) > 1:
            names = dict.fromkeys(str(run.config.get("data.name")) for run in ranked)
            what.append(f"other data ({', '.join(names)})")
        grounds = {grouping.same_ground(run, result.metric) for run in ranked}
        if len({ground[1:] for ground in grounds}) > 1:
            what.append(f"other {result.metric.partition('/')[0]} images")
        notes.append(
            f"not comparable: {result.metric} is about {' and '.join(what)}; {result.blocks} rankings, A and on"
        )
    lacking = [idea for idea in finished if idea.spread(result.metric) is None]
    if lacking:
        notes.append(f"not ranked: {len(lacking)} finished without {result.metric} ({_names(lacking)})")
    monitors = sorted({str(run.facts.get("monitor")) for run in ranked})
    if len(monitors) > 1:
        notes.append(f"careful: best checkpoints were chosen by different monitors ({', '.join(monitors)})")
    if result.metric.endswith("loss") and any(key.startswith("loss.") for key in result.differing):
        notes.append(f"careful: {result.metric} was computed with different settings of loss.*")
    for status in STATUSES[1:]:
        those = [idea for idea in ideas if idea.first.status == status]
        if those:
            notes.append(f"not ranked: {len(those)} {status} ({_names(those, reason=True)})")
    return notes


def _names(ideas: Sequence[Idea], *, reason: bool = False) -> str:
    named = [f"{idea.label}{f': {idea.first.reason}' if reason and idea.first.reason else ''}" for idea in ideas[:4]]
    return "; ".join([*named, *(["..."] if len(ideas) > 4 else [])])


def _pair(result: Result, job: Comparison) -> None:
    """Test the first row, or the one that `against` names, against the others of its block."""
    ranked = [row for row in result.rows if row.rank is not None]
    if job.against is not None:
        wanted = set(find_folders([job.against], job.runs))
        base = next((row for row in ranked if wanted & {run.folder for run in row.idea.runs}), None)
        if base is None:
            raise UserError(f"command line: against={job.against}: is not among the ranked runs")
    elif ranked:
        base = min(ranked, key=lambda row: (row.block, row.rank))
    else:
        return
    others = [row for row in ranked if row.block == base.block and row is not base]
    if len(others) > MOST_PAIRS:
        result.notes.append(
            f"{len(others)} pairs: the first {MOST_PAIRS} are tested; where= and against= choose others"
        )
    missing: dict[Run, None] = {}
    for row in others[:MOST_PAIRS]:
        first, second = (idea.by_seed(result.metric) for idea in (base.idea, row.idea))
        seeds = paired_seeds(first, second, limits_of(result.metric))
        images: dict[str, PairedImages] = {}
        if len(base.idea.runs) == len(row.idea.runs) == 1:
            images = _over_images(base.idea.first, row.idea.first, result.notes, missing)
        if seeds or images:
            result.pairs.append(Pair(first=base.idea, second=row.idea, seeds=seeds, images=images))
    if missing:
        commands = [f"python evaluate.py run={_word(run, job.runs)}" for run in list(missing)[:2]]
        result.notes.append(f"for tests over the same images, first: {' && '.join(commands)}")
    if len(result.pairs) > 1:
        chosen = "" if job.against else "; the first row was chosen by its mean, which favours it"
        result.notes.append(
            f"{len(result.pairs)} pairs were tested, each at 95 %, none corrected for the others{chosen}"
        )


def _over_images(first: Run, second: Run, notes: list[str], missing: dict[Run, None]) -> dict[str, PairedImages]:
    """The evaluations that both runs have, by name (test-center); runs without any go to `missing`."""
    files = [{path.parent.name: path for path in sorted(_predictions(run))} for run in (first, second)]
    for run, there in zip((first, second), files, strict=True):
        if not there:
            missing.setdefault(run)
    found: dict[str, PairedImages] = {}
    for name in files[0].keys() & files[1].keys():
        tables = []
        for run, there in zip((first, second), files, strict=True):
            try:
                tables.append(read_predictions(there[name]))
            except ValueError as error:
                notes.append(f"{run.label}/evaluation/{name}/predictions.csv {error}")
        if len(tables) == 2:
            try:
                found[name] = same_images(*tables)
            except ValueError as error:
                notes.append(f"not comparable: {name} of {first.label} and {second.label}: {error}")
    if all(files) and not files[0].keys() & files[1].keys():
        notes.append(f"{first.label} and {second.label} have no evaluation of the same split and views")
    return dict(sorted(found.items()))


def _predictions(run: Run) -> list[Path]:
    return list(run.folder.glob("evaluation/*/predictions.csv"))


def _word(run: Run, runs: Path) -> str:
    """The run as it would be typed."""
    import shlex

    return shlex.quote(
        str(run.folder.relative_to(runs.resolve()) if run.folder.is_relative_to(runs.resolve()) else run.folder)
    )
