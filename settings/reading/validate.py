"""Finds every mistake of one composed job and the place of each; settles what follows from the rest."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from settings.reading import files
from settings.reading.composition import PRESETS, Composition, as_choice
from settings.reading.files import Keys
from settings.run_names import run_named
from settings.runs import rooted
from settings.schema import names, signatures
from settings.schema.checks import CHECKS, forbidden_targets, foreign_arguments, logged
from settings.schema.mistakes import follow, show, value_at, wrong_values
from settings.schema.run_config import RunConfig, Settings, all_keys
from settings.schema.unknown_key import unknown_key

EXCLUSIVE = ("loss", "optimizer", "scheduler", "logger", "transfer")
"""Groups whose keys depend on the choice, which is why their `name` is not set by hand."""


class Checker:
    """Finds every mistake of one job and says where it stands."""

    def __init__(self, composition: Composition, *, typed: Iterable[Keys], chosen: Iterable[str]) -> None:
        """Take the files, the keys that the command line sets, and the groups that it chooses."""
        self._composition = composition
        self._typed = set(typed)
        self._chosen = {(group,) for group in chosen}
        written = {".".join(keys[:length]) for keys in self._typed for length in range(1, len(keys) + 1)}
        self._written = written | set(composition.written())

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
                found.update({keys: text for keys, text in check(config, self._written) if keys not in found})
        return [self._message(keys, text) for keys, text in found.items() if not self._spurious(keys, text)]

    def is_written(self, key: str) -> bool:
        """Whether the user sets a key, on the command line or in a preset; the defaults' files do not count."""
        return key in self._written

    def _set_by_choice(self, raw: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
        """Keys that follow from a choice but were typed; put back, or the rest would not fit."""
        before = self._composition.raw
        for keys in [*((group, "name") for group in EXCLUSIVE), ("model", "source"), ("model", "name")]:
            generic = self._composition.chosen.get("model") in ("own", *names.LIBRARIES)
            if keys not in self._typed or (keys == ("model", "name") and generic):
                continue
            value = raw[keys[0]][keys[1]]
            if value != before[keys[0]].get(keys[1]):
                choice = as_choice(value) if isinstance(value, list) else value
                yield keys, f"={show(value)} follows from the choice; write {keys[0]}={choice}"
                raw[keys[0]][keys[1]] = before[keys[0]].get(keys[1])

    def _wrong(self, errors: list[dict[str, Any]], raw: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
        """What the schema says, with unknown keys as they were typed."""
        values = wrong_values(errors, raw)
        strange = {follow(one["loc"], raw) for one in errors if one["type"] == "extra_forbidden"}
        for one in errors:
            keys = follow(one["loc"], raw)
            if one["type"] == "extra_forbidden":
                section = raw.get(keys[0])
                choice = section.get("name") if isinstance(section, dict) and keys[0] in EXCLUSIVE else None
                here = raw if len(keys) == 1 else section
                siblings = [name for name in here or {} if (*keys[:-1], name) not in strange] if choice else None
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
    """What can be checked further: without unknown keys, default sections in place of faulty ones."""
    rest = copy.deepcopy({key: value for key, value in raw.items() if key not in faulty})
    for one in errors:
        keys = follow(one["loc"], raw)
        if keys[0] not in faulty:
            value_at(keys[:-1], rest).pop(keys[-1], None)
    return rest


def settle(raw: Mapping[str, Any]) -> RunConfig:
    """The checked configuration with what follows from it: weights, recipe without forbidden lines."""
    config = RunConfig.model_validate(dict(raw))
    if config.model.weights == "none" and (config.model.pretrained or _means_default(config)):
        config.model.weights = "default"
    if config.model.weights not in ("none", "default") and not Path(config.model.weights).exists():
        run = run_named(config.model.weights, rooted(config.paths.runs))  # a run is named as everywhere
        config.model.weights = str(run or config.model.weights)
    config.task = config.chosen_task
    directions = logged(config)
    config.monitor = config.monitor or next(iter(directions), "val/loss")
    config.monitor_mode = config.monitor_mode or directions.get(config.monitor) or "min"  # type: ignore[assignment]
    config.dropped_augment = [
        name
        for name, given in config.augment.items()
        if given is not None and not names.effects(name).isdisjoint(config.data.forbid)
    ]
    known = names.operations()
    config.augment = {
        name: signatures.convert(known[name], given) if name in known else given
        for name, given in config.augment.items()
        if given is not None and name not in config.dropped_augment
    }
    return config


def _means_default(config: RunConfig) -> bool:
    """A mode other than scratch, where no weights are named and none are not allowed."""
    return config.transfer.name != "scratch" and not config.transfer.allow_random and config.model.source != "own"
