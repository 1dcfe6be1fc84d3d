"""From the command line to checked configurations: all mistakes of all jobs at once, without torch."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from configs import files, literal, names, resume, signatures
from configs.checks import CHECKS, forbidden_targets, foreign_arguments
from configs.composition import PRESETS, Composition, compose_groups, names_as_text
from configs.errors import UserError, shorten
from configs.files import Keys
from configs.literal import Line
from configs.mistakes import follow, show, value_at, wrong_values
from configs.schema import RunConfig, Settings, all_keys, config_from_plain, fields_of, path_keys, text_keys
from configs.sections import Data
from configs.unknown_key import unknown_key

__all__ = ["RunConfig", "compose", "compose_jobs", "config_from_plain"]

Job = list[tuple[Line, Any]]
EXCLUSIVE = ("optimizer", "scheduler", "logger", "transfer")
"""Groups whose keys depend on the choice, which is why their `name` is not set by hand."""


def compose(overrides: Sequence[str] = ()) -> RunConfig:
    """One checked configuration.

    Args:
        overrides: `group=choice` and `key=value`, as on the command line.

    Raises:
        UserError: all mistakes together.
    """
    return compose_jobs(overrides)[0]


def compose_jobs(overrides: Sequence[str], multirun: bool = False) -> list[RunConfig]:
    """All checked configurations of a grid, in the order in which they will run; one without `multirun`.

    Raises:
        UserError: all mistakes of all jobs together.
    """
    lines, wrong = literal.split(overrides, groups=files.groups())
    for line in lines:
        if line.is_group:
            wrong += _read_choices(line, grid=multirun)
    picks = [[(line, value) for value in line.values] for line in lines if line.is_group and line.values]
    compositions: dict[tuple[tuple[str, str | None], ...], Composition] = {}
    for pick in itertools.islice(itertools.product(*picks), literal.MOST_JOBS):
        given = {line.key: value for line, value in pick}
        compositions[tuple(given.items())] = compose_groups(given)
    for composition in compositions.values():
        wrong += composition.problems
    wrong += _read_values(lines, compositions.values(), grid=multirun)
    jobs: list[RunConfig] = []
    readable = [[(line, value) for value in line.values] for line in lines if line.values]
    count = math.prod(len(pairs) for pairs in readable)
    if count > literal.MOST_JOBS:
        wrong.append(f"command line: a grid of {count} jobs; at most {literal.MOST_JOBS} are taken")
    for index, job in enumerate(itertools.islice(itertools.product(*readable), literal.MOST_JOBS)):
        given = {line.key: value for line, value in job if line.is_group}
        tail = f"-{index}" if count > 1 else ""
        config, found = _check(list(job), compositions[tuple(given.items())], tail)
        wrong += found
        if config is not None:
            config.command = _command(job) if multirun else list(overrides)
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
    if line.key in PRESETS or ("," not in text and "(" not in text):
        options = [text]
    else:
        try:
            options = [str(value) for value in literal.parse(line, grid=grid)]
        except ValueError as error:
            return [f"command line: {line.text}: {error}"]
    if line.key in PRESETS and "," in text:
        options = text.split(",") if grid else options
    if not all(options) or any(option.startswith(("[", "{")) for option in options):
        return [f"command line: {line.text}: choose one of {', '.join(files.choices(line.key))}"]
    line.values = options
    return []


def _read_values(lines: Iterable[Line], compositions: Iterable[Composition], *, grid: bool) -> list[str]:
    """Fill in the values of all lines that are no group choices; return what is wrong with them."""
    compositions = list(compositions)
    wrong = []
    for line in lines:
        if line.is_group:
            continue
        if line.delete:
            line.values = [None]
            continue
        kinds = [_parameter(line.keys, composition.raw) for composition in compositions]
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
    """The constructor's parameter that `data.KEY` or `callbacks.NAME.KEY` stands for, if it does."""
    section = raw
    for key in keys[:-1]:
        section = section.get(key, {}) if isinstance(section, Mapping) else {}
    target = section.get("_target_") if isinstance(section, Mapping) else None
    known_data_key = keys[0] == "data" and keys[-1] in fields_of(Data)
    if (
        not isinstance(target, str)
        or known_data_key
        or target.split(".")[0] not in ("datamodules", "callbacks")
    ):
        return None
    try:
        return (signatures.parameters(target) or {}).get(keys[-1])
    except signatures.NotFoundInSource:
        return None


def _check(job: Job, composition: Composition, tail: str) -> tuple[RunConfig | None, list[str]]:
    """One job: its values on top of its files, all mistakes found; no configuration if there are any.

    Args:
        job: the lines of the command line and the value that each has here.
        composition: the files.
        tail: what a fixed `name` gets, so that the runs of a grid are told apart.
    """
    if not isinstance(composition.raw.get("data"), dict):
        return None, []  # the files cannot be merged, which is reported
    raw = copy.deepcopy(composition.raw)
    wrong = _apply(job, raw, tail)
    checker = _Checker(job, composition)
    folder, stored = None, None
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
    wrong += checker.all_mistakes(raw)
    if wrong or composition.problems:
        return None, wrong
    config = _settle(raw)
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
            wrong.append(
                f"command line: unknown key {line.key}; {'.'.join(line.keys[:-1])} has no keys of its own"
            )
        elif line.delete:
            if last not in section:
                wrong.append(f"command line: ~{line.key}: {unknown_key(line.keys)}")
            section.pop(last, None)
        elif isinstance(value, dict) and isinstance(section.get(last), dict):
            section[last] = {**section[last], **names_as_text(value)}
        else:
            section[last] = names_as_text(value)
    if tail and isinstance(raw.get("name"), str):
        raw["name"] += tail
    return wrong


class _Checker:
    """Finds every mistake of one job and says where it stands."""

    def __init__(self, job: Job, composition: Composition) -> None:
        self._composition = composition
        self._typed = {line.keys for line, _ in job if not line.is_group}
        self._chosen = {line.keys for line, _ in job if line.is_group}
        typed = {".".join(keys[:length]) for keys in self._typed for length in range(1, len(keys) + 1)}
        self.written = typed | set(composition.written())

    def all_mistakes(self, raw: dict[str, Any]) -> list[str]:
        """Messages in the order of the sections; `raw` is not changed."""
        raw = copy.deepcopy(raw)
        found = dict(forbidden_targets(raw))
        for keys, text in self._set_by_choice(raw):
            found.setdefault(keys, text)
        faulty: set[str] = set()
        try:
            config = Settings.model_validate(raw)
        except ValidationError as error:
            errors: list[dict[str, Any]] = [dict(one) for one in error.errors()]
            for keys, text in self._wrong(errors, raw):
                found.setdefault(keys, text)
            faulty = {str(one["loc"][0]) for one in errors if one["type"] != "extra_forbidden"}
            config = Settings.model_validate(_without_mistakes(raw, errors, faulty))
        for keys, text in foreign_arguments(raw):
            longer = [typed for typed in self._typed if typed[: len(keys)] == keys and len(typed) > len(keys)]
            if keys[0] == "callbacks" and longer and text.startswith("unknown key"):
                found.update({typed: unknown_key(typed) for typed in longer})  # callbacks.emma.decay
            else:
                found.setdefault(keys, text)
        faulty |= {keys[0] for keys, text in found.items() if not text.startswith("unknown key")}
        for check, sections in CHECKS.items():
            if not sections & faulty:
                found.update({keys: text for keys, text in check(config, self.written) if keys not in found})
        return [self._message(keys, text) for keys, text in found.items() if not self._spurious(keys, text)]

    def _set_by_choice(self, raw: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
        """Keys that follow from a choice but were typed; put back, or the rest would not fit."""
        before = self._composition.raw
        for keys in [*((group, "name") for group in EXCLUSIVE), ("model", "source"), ("model", "name")]:
            generic = self._composition.chosen.get("model") in ("own", *names.LIBRARIES)
            if keys not in self._typed or (keys == ("model", "name") and generic):
                continue
            value = raw[keys[0]][keys[1]]
            if value != before[keys[0]].get(keys[1]):
                yield keys, f"={show(value)} follows from the choice; write {keys[0]}={value}"
                raw[keys[0]][keys[1]] = before[keys[0]].get(keys[1])

    def _wrong(self, errors: list[dict[str, Any]], raw: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
        """What the schema says, with unknown keys as they were typed."""
        values = wrong_values(errors, raw)
        for one in errors:
            keys = follow(one["loc"], raw)
            if one["type"] == "extra_forbidden":
                section = raw.get(keys[0])
                choice = section.get("name") if isinstance(section, dict) and keys[0] in EXCLUSIVE else None
                here = raw if len(keys) == 1 else section
                siblings = [name for name in here or {} if name != keys[-1]] if choice else None
                for typed in [typed for typed in self._typed if typed[: len(keys)] == keys] or [keys]:
                    yield typed, unknown_key(typed, siblings=siblings, choice=choice, at=len(keys) - 1)
            elif one["type"] == "missing":
                yield (*keys, str(one["loc"][-1])), " is needed"
            elif len(keys) == 1 and keys[0] in files.groups() and isinstance(raw[keys[0]], str):
                yield (
                    keys,
                    f"={raw[keys[0]]}: a choice stands in the defaults list: - override /{keys[0]}: NAME",
                )
            else:
                yield keys, values[keys]

    def _message(self, keys: Keys, text: str) -> str:
        said = text if text.startswith("unknown key") else f"{'.'.join(keys)}{text}"
        return f"{self._place(keys)}: {said}"

    def _place(self, keys: Keys) -> str:
        typed = any(typed == keys[: len(typed)] or keys == typed[: len(keys)] for typed in self._typed)
        if typed or keys in self._chosen:
            return "command line"
        return self._composition.place(keys)

    def _spurious(self, keys: Keys, text: str) -> bool:
        """Whether a key only seems unknown, because the choice that has it is itself the mistake."""
        replaced = self._composition.replaced
        affected = keys[0] in replaced or bool(replaced & set(PRESETS))
        return affected and text.startswith("unknown key") and ".".join(keys) in all_keys()


def _without_mistakes(raw: dict[str, Any], errors: list[dict[str, Any]], faulty: set[str]) -> dict[str, Any]:
    """What can be checked further: without unknown keys, and with default sections for those of wrong values."""
    rest = copy.deepcopy({key: value for key, value in raw.items() if key not in faulty})
    for one in errors:
        keys = follow(one["loc"], raw)
        if keys[0] not in faulty:
            value_at(keys[:-1], rest).pop(keys[-1], None)
    return rest


def _settle(raw: Mapping[str, Any]) -> RunConfig:
    """The checked configuration with what follows from it: weights, recipe without forbidden lines."""
    config = RunConfig.model_validate(dict(raw))
    if config.model.weights == "none" and (config.model.pretrained or _means_default(config)):
        config.model.weights = "default"
    config.dropped_augment = [
        name for name, given in config.augment.items() if given is not None and name in config.data.forbid
    ]
    config.augment = {
        name: given
        for name, given in config.augment.items()
        if given is not None and name not in config.dropped_augment
    }
    return config


def _means_default(config: RunConfig) -> bool:
    """A mode other than scratch, where no weights are named and none are not allowed."""
    return (
        config.transfer.name != "scratch"
        and not config.transfer.allow_random
        and config.model.source != "own"
    )


def _command(job: Iterable[tuple[Line, Any]]) -> list[str]:
    """The job's own command line: one value for each key."""
    words = []
    for line, value in job:
        single = len(line.values) == 1
        words.append(
            line.text if single else f"{line.key}={value if isinstance(value, str) else show(value)}"
        )
    return words
