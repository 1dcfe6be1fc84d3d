"""Going on with a run: its own configuration, what is typed now on top, a refusal of what must not change."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from settings import stored_files
from settings.errors import UserError
from settings.reading import files
from settings.reading.composition import PRESETS
from settings.reading.literal import Line
from settings.run_names import resumed_folder
from settings.schema import schedules
from settings.schema.mistakes import show
from settings.schema.run_config import RunConfig, without_former_keys
from settings.schema.sections import FolderName, Paths, Section, Text

FREE = (
    *("experiment", "debug", "test", "resume", "resume_allow", "traceback", "paths", "logger", "callbacks"),
    *(
        "data.num_workers",
        "data.persistent_workers",
        "data.worker_timeout",
        "data.root",
        "data.near_duplicates",
        "data.max_bad_files",
        "trainer.max_epochs",
        "trainer.max_steps",
        "trainer.accelerator",
        "scheduler.restart",
    ),
    *(
        "trainer.profiler",
        "trainer.enable_model_summary",
        "trainer.log_every_n_steps",
        "trainer.detect_anomaly",
    ),
    *("trainer.limit_test_batches", "trainer.max_time", "trainer.process_timeout"),
)
"""Keys that change nothing about the weights that come out, or, as the length, change them as asked for."""


class _Identity(Section):
    """The part of a configuration that says which run is meant; checked before it becomes a path."""

    name: FolderName | None
    resume: Text
    paths: Paths


def resumed_from(raw: Mapping[str, Any]) -> tuple[Path | None, dict[str, Any] | None]:
    """The folder of the run that `resume` means and its stored configuration; two None to start anew.

    Raises:
        UserError: no such run, or its configuration cannot be read.
    """
    try:
        identity = _Identity.model_validate({key: raw.get(key) for key in ("name", "resume", "paths")})
        kind = raw.get("experiment") or f"{raw['data']['name']}-{raw['model']['name']}"
    except (ValidationError, KeyError, TypeError):
        return None, None  # the schema reports it
    try:
        folder = resumed_folder(resume=identity.resume, name=identity.name, runs=identity.paths.runs, kind=kind)
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"resume={show(identity.resume)}: cannot be looked up ({error.__class__.__name__})") from error
    if folder is None:
        return None, None
    stored_files.refuse_strange_files(folder)
    document = files.read_stored(folder, f"{folder.name}/config.yaml")
    if document.problems or not document.content:
        raise UserError(*(document.problems or [f"{folder}/config.yaml is empty; the run cannot go on"]))
    return folder, without_former_keys(document.content)


def on_top_of_stored(
    stored: Mapping[str, Any], fresh: Mapping[str, Any], job: Iterable[tuple[Line, Any]]
) -> dict[str, Any]:
    """The stored configuration with the groups chosen now; a preset takes everything from the new one.

    Args:
        stored: the run's config.yaml.
        fresh: what the command line alone would give.
        job: the lines of the command line and their values.
    """
    chosen = [line.key for line, value in job if line.is_group and value is not None]
    if any(preset in chosen for preset in PRESETS):
        return dict(fresh)
    raw = copy.deepcopy(dict(stored))
    for group in chosen:
        raw[group] = copy.deepcopy(fresh[group])
    raw.update({key: fresh.get(key) for key in ("resume", "resume_allow", "traceback")})
    if str(fresh["resume"]).lower() == "best":
        raw["name"] = fresh.get("name")
    return raw


def keep_decided(raw: dict[str, Any], stored: Mapping[str, Any]) -> None:
    """Put what a run has decided by itself in place of `auto`: a run that goes on does not decide again.

    Args:
        raw: the configuration with what is typed now; changed.
        stored: the run's config.yaml.
    """
    trainer, before = raw.get("trainer"), stored.get("trainer")
    if isinstance(trainer, dict) and isinstance(before, Mapping) and trainer.get("precision") == "auto":
        trainer["precision"] = before.get("precision")
        if trainer.get("channels_last") is None:
            trainer["channels_last"] = before.get("channels_last")


def refused_changes(stored: Mapping[str, Any], config: RunConfig) -> Iterator[str]:
    """One line for each key that differs from the stored run and is neither free nor allowed."""
    before, after = dict(_flat(completed(stored))), dict(_flat(config.to_plain()))
    if config.trainer.processes == _processes(stored):  # on however many machines
        after |= {key: before.get(key) for key in ("trainer.devices", "trainer.num_nodes")}
    allowed = (*FREE, *config.resume_allow, *(["name"] if str(config.resume).lower() == "best" else []))
    for key in dict.fromkeys([*before, *after]):
        if before.get(key) == after.get(key) or _under(key, allowed):
            continue
        yield (
            f"{key}: the run was made with {show(before.get(key))}, now it is {show(after.get(key))}; "
            f"resume_allow=[{key}] permits it"
        )
    if not schedules.follows_length(config.scheduler.name) or config.scheduler.restart:
        return
    for key in ("trainer.max_epochs", "trainer.max_steps"):
        old, new = before.get(key, after[key]), after[key]
        if _limit(new) > _limit(old):
            yield (
                f"{key}: {old} -> {new} is longer than {config.scheduler.name} was shaped for; "
                "scheduler.restart=true shapes it anew"
            )


def _limit(value: Any) -> float:
    """How far a limit reaches; -1 is none."""
    return math.inf if value == -1 else value


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration with the keys that have been added since it was written."""
    from settings.reading.validate import settle

    try:
        return settle(stored).to_plain()
    except (ValidationError, ValueError):
        return dict(stored)


def _processes(stored: Mapping[str, Any]) -> int | None:
    """How many processes a stored configuration trains in."""
    trainer = stored.get("trainer") or {}
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    count = len(devices) if isinstance(devices, list) else devices
    return count * nodes if isinstance(count, int) and isinstance(nodes, int) else None


def place_in(config: RunConfig, folder: Path) -> None:
    """Where the run goes on: in its folder, or as a child of it under `resume=best`."""
    if str(config.resume).lower() == "best":
        config.parent = folder
    else:
        config.run_folder = folder


def _under(key: str, allowed: Iterable[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in allowed)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
