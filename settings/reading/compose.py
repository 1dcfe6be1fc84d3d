"""From the command line to checked configurations: all mistakes of all jobs at once, without torch."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from settings import world
from settings.errors import UserError, shorten
from settings.reading import files, literal, resume
from settings.reading.composition import PRESETS, SEVERAL, Composition, as_choice, compose_groups, names_as_text
from settings.reading.files import Keys
from settings.reading.literal import Line
from settings.reading.validate import Checker, settle
from settings.runs import identity
from settings.schema import lightning_callbacks, loggers, signatures
from settings.schema.mistakes import show
from settings.schema.run_config import (
    RunConfig,
    config_from_plain,
    fields_of,
    path_keys,
    text_keys,
    without_former_keys,
)
from settings.schema.sections import Data
from settings.schema.unknown_key import unknown_key

__all__ = ["RunConfig", "compose", "compose_jobs", "config_from_plain"]

Job = list[tuple[Line, Any]]


def compose(overrides: Sequence[str] = ()) -> RunConfig:
    """One checked configuration.

    Args:
        overrides: `group=choice` and `key=value`, as on the command line.

    Raises:
        UserError: all mistakes together.
    """
    return compose_jobs(overrides)[0]


def compose_jobs(
    overrides: Sequence[str], multirun: bool = False, *, stored: Mapping[str, Any] | None = None
) -> list[RunConfig]:
    """All checked configurations of a grid, in the order in which they will run; one without `multirun`.

    Args:
        overrides: `group=choice` and `key=value`, as on the command line.
        multirun: whether several values of a key make a grid.
        stored: the configuration of an earlier run, which the overrides are put on top of.

    Raises:
        UserError: all mistakes of all jobs together.
    """
    stored = None if stored is None else without_former_keys(stored)
    lines, wrong = literal.split(overrides, groups=files.groups())
    for line in lines:
        if line.is_group:
            wrong += _read_choices(line, grid=multirun)
    tasks = [_read_task(line, grid=multirun) for line in lines if line.key == "task" and not line.is_group]
    picks = [[(line.key, value) for value in line.values] for line in lines if line.is_group and line.values]
    picks += [[("task", name) for name in named] for named in tasks if named]
    typed = [literal.literal(line, is_path=True) for line in lines if line.key == "data.root" and not line.delete]
    root = Path(typed[0]).expanduser() if typed and typed[0] else None
    compositions: dict[frozenset[tuple[str, str | None]], Composition] = {}
    for pick in itertools.islice(itertools.product(*picks), literal.MOST_JOBS):
        given = dict(pick)
        task = given.pop("task", None)
        compositions[frozenset(pick)] = compose_groups(given, task=task, root=root)
    for composition in compositions.values():
        wrong += composition.problems
    wrong += _read_values(lines, compositions.values(), stored or {}, grid=multirun)
    jobs: list[RunConfig] = []
    readable = [[(line, value) for value in line.values] for line in lines if line.values]
    count = math.prod(len(pairs) for pairs in readable)
    if count > literal.MOST_JOBS:
        wrong.append(f"command line: a grid of {count} jobs; at most {literal.MOST_JOBS} are taken")
    for index, job in enumerate(itertools.islice(itertools.product(*readable), literal.MOST_JOBS)):
        chosen = frozenset((line.key, value) for line, value in job if line.is_group or line.key == "task")
        tail = f"-{index}" if count > 1 else ""
        config, found = _check(list(job), compositions[chosen], tail, grid=multirun, stored=stored)
        wrong += found
        if config is not None:
            config.command = _command(job) if multirun else list(overrides)
            if multirun and config.callbacks.report is None:  # what a grid leaves out, a single run has to be told
                config.command = list(dict.fromkeys([*config.command, "callbacks.report=null"]))
            jobs.append(config)
    if wrong:
        raise UserError(*shorten(list(dict.fromkeys(wrong))))
    return jobs


def _read_choices(line: Line, *, grid: bool) -> list[str]:
    """Fill in the choices of a group line; return what is wrong with it."""
    optional = line.key in PRESETS
    text = line.given.strip()
    if text.lower() == "null" and optional:
        line.values = [None]
        return []
    if line.key in PRESETS or not any(mark in text for mark in ",(["):
        options = [text]
    else:
        try:
            options = [
                as_choice(value) if isinstance(value, list) and value and line.key in SEVERAL else str(value)
                for value in literal.parse(line, grid=grid)
            ]
        except ValueError as error:
            return [f"command line: {line.text}: {error}"]
    if line.key in PRESETS and "," in text:
        options = text.split(",") if grid else options
    lists = ("{",) if line.key in SEVERAL else ("[", "{")
    if not all(options) or any(option.startswith(lists) or option == "[]" for option in options):
        return [f"command line: {line.text}: choose one of {', '.join(files.choices(line.key))}"]
    line.values = options
    return []


def _read_task(line: Line, *, grid: bool) -> list[Any]:
    """The tasks that a line names; what is wrong with it is told when its values are read."""
    try:
        return [None] if line.delete else literal.parse(line, grid=grid)
    except ValueError:
        return []


def _read_values(
    lines: Iterable[Line], compositions: Iterable[Composition], stored: Mapping[str, Any], *, grid: bool
) -> list[str]:
    """Fill in the values of all lines that are no group choices; return what is wrong with them."""
    lines = list(lines)
    chosen = {line.key for line in lines if line.is_group}
    kept = {section: values for section, values in stored.items() if section not in chosen}
    raws = [{**composition.raw, **kept} for composition in compositions]
    wrong = []
    for line in lines:
        if line.is_group:
            continue
        if line.delete:
            line.values = [None]
            continue
        kinds = [_parameter(line.keys, raw) for raw in raws]
        is_text = line.key in text_keys() or any(kind and kind.is_text for kind in kinds)
        if literal.is_literal(line, is_text=is_text, grid=grid):
            is_path = line.key in path_keys() or any(kind and kind.is_path for kind in kinds)
            line.values = [literal.literal(line, is_path=is_path)]
            continue
        try:
            line.values = literal.parse(line, grid=grid)
        except ValueError as error:
            wrong.append(f"command line: {line.key}={line.given!r:.60}: {error}")
    return wrong


def _parameter(keys: Keys, raw: Mapping[str, Any]) -> signatures.Parameter | None:
    """The constructor's parameter that `data.KEY`, `callbacks.NAME.KEY` or `logger.KEY` stands for, if it does."""
    if keys[0] == "logger" and len(keys) == 2:
        return _logger_parameter(keys[1], raw.get("logger"))
    section = raw
    for key in keys[:-1]:
        section = section.get(key, {}) if isinstance(section, Mapping) else {}
    target = section.get("_target_") if isinstance(section, Mapping) else None
    known_data_key = keys[0] == "data" and keys[-1] in fields_of(Data)
    if not isinstance(target, str) or known_data_key:
        return None
    if target.split(".")[0] not in ("datamodules", "callbacks") and not lightning_callbacks.is_one(target):
        return None
    try:
        return (signatures.parameters(lightning_callbacks.source_of(target)) or {}).get(keys[-1])
    except signatures.NotFoundInSource:
        return None


def _logger_parameter(key: str, section: Any) -> signatures.Parameter | None:
    named = section.get("name") if isinstance(section, Mapping) else None
    try:
        chosen = [name for name in ([named] if isinstance(named, str) else named or ()) if isinstance(name, str)]
        return loggers.arguments(chosen).get(key)
    except (signatures.NotFoundInSource, TypeError):
        return None


def _check(
    job: Job, composition: Composition, tail: str, *, grid: bool, stored: Mapping[str, Any] | None = None
) -> tuple[RunConfig | None, list[str]]:
    """One job: its values on top of its files, all mistakes found; no configuration if there are any.

    Args:
        job: the lines of the command line and the value that each has here.
        composition: the files.
        tail: what a fixed `name` gets, so that the runs of a grid are told apart.
        grid: whether it is a job of a multirun, which writes no report unless it is asked for.
        stored: the configuration of an earlier run, where the job is one on top of it.
    """
    raw = copy.deepcopy(composition.raw)
    wrong = _apply(job, raw, tail)
    checker = Checker(
        composition,
        typed=(line.keys for line, _ in job if not line.is_group),
        chosen=(line.key for line, _ in job if line.is_group),
    )
    folder = None
    if raw.get("resume") is not None:
        try:
            folder, stored = resume.resumed_from(raw)
        except UserError as error:
            return None, [
                *wrong,
                *checker.all_mistakes(raw),
                *(f"command line: {one}" for one in error.messages),
            ]
    if stored is not None:
        raw = resume.on_top_of_stored(stored, raw, job)
        wrong = _apply(job, raw, tail)
        resume.keep_decided(raw, stored)
    world.follow(raw, is_written=checker.is_written)
    wrong += checker.all_mistakes(raw)
    if wrong or composition.problems:
        return None, wrong
    config = settle(raw)
    if grid and not checker.is_written("callbacks.report"):
        config.callbacks.report = None
    if folder is not None and stored is not None:
        wrong += [f"command line: {one}" for one in resume.refused_changes(stored, config)]
        resume.place_in(config, folder)
    return (None, wrong) if wrong else (config, [])


def _apply(job: Job, raw: dict[str, Any], tail: str) -> list[str]:
    """Set the values of the command line; a section that is null is switched on by one of its keys."""
    wrong = []
    for line, value in job:
        if line.is_group:
            continue
        section: Any = raw
        for key in line.keys[:-1]:
            inner = section.get(key) if isinstance(section, dict) else None
            if not isinstance(inner, dict):
                if not isinstance(section, dict) or (key in section and inner is not None):
                    section = None
                    break
                if line.delete:
                    break
                inner = section[key] = {}
            section = inner
        last = line.keys[-1]
        if section is None:
            wrong.append(f"command line: unknown key {line.key}; {'.'.join(line.keys[:-1])} has no keys of its own")
        elif line.delete:
            if last not in section:
                wrong.append(f"command line: ~{line.key}: {unknown_key(line.keys)}")
            section.pop(last, None)
        elif isinstance(value, dict) and isinstance(section.get(last), dict):
            section[last] = {**section[last], **names_as_text(value)}
        else:
            section[last] = names_as_text(value)
    given_by_job = f"{identity(None)}{tail}" if tail and identity(None) else None  # SLURM's job, torchrun's run id
    if given_by_job and raw.get("name") in (None, given_by_job):
        raw["name"] = given_by_job
    elif tail and isinstance(raw.get("name"), str):
        raw["name"] += tail
    return wrong


def _command(job: Iterable[tuple[Line, Any]]) -> list[str]:
    """The job's own command line: one value for each key."""
    words = []
    for line, value in job:
        single = len(line.values) == 1
        words.append(line.text if single else f"{line.key}={value if isinstance(value, str) else show(value)}")
    return words
