"""The loggers of a run: metrics.csv always, and those that the configuration names."""

import inspect
import secrets
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from callbacks.loggers.csv_logger import CsvLogger
from engine.run_folder import RunRecord
from settings.errors import UserError

GOES_ON = {"MLFlowLogger": "run_id", "CometLogger": "experiment_key"}
"""Loggers of Lightning's that can go on with a run of their service, and the argument that names it."""


def build_loggers(
    *, record: RunRecord, chosen: Iterable[Mapping[str, Any]], config: dict[str, Any], step: int | None
) -> list[Logger]:
    """metrics.csv and the loggers that were asked for; of several processes, in the one that writes.

    Args:
        record: the open run folder.
        chosen: a section each, `_target_` and arguments, which the configuration has checked.
        config: the whole configuration, plain.
        step: the step that the run goes on from, `None` for a new run.

    Raises:
        UserError: a logger of Lightning's, or its service, refuses.
    """
    if not record.writes:
        return []
    loggers: list[Logger] = [CsvLogger(run_folder=record.folder, keep_until=step)]
    for section in chosen:
        module, _, name = section["_target_"].rpartition(".")
        kind = getattr(import_module(module), name)
        arguments = {key: value for key, value in section.items() if key != "_target_"}
        if kind is CsvLogger:
            continue
        if module.startswith("lightning."):
            loggers.append(_lightnings(kind, arguments, record, config))
        else:
            loggers.append(_own(kind, arguments, record, config, step))
    return loggers


def _own(kind: Any, arguments: dict[str, Any], record: RunRecord, config: dict[str, Any], step: int | None) -> Logger:
    """One of ours or of the forker's: its signature says what it wants of the run."""
    tracking = record.summary["tracking"] or {}
    facts = {
        "run_folder": record.folder,
        "run_id": tracking.get("id") or secrets.token_hex(4),  # drawn once a run and kept in its summary
        "name": record.folder.name,
        "config": config,
        "keep_until": step,
    }
    wanted = {name: value for name, value in facts.items() if name in inspect.signature(kind).parameters}
    logger = kind(**arguments, **wanted)
    if "run_id" in wanted:
        record.update(tracking={**tracking, "id": facts["run_id"], "url": getattr(logger, "url", None)})
    return logger


def _lightnings(kind: Any, arguments: dict[str, Any], record: RunRecord, config: dict[str, Any]) -> Logger:
    """One of Lightning's, which writes below the run folder and goes on with the run that it had before."""
    takes = inspect.signature(kind).parameters
    tracking = record.summary["tracking"] or {}
    defaults: dict[str, Any] = {key: str(record.folder) for key in ("save_dir", "root_dir") if key in takes}
    if "run_name" in takes:
        defaults["run_name"] = record.folder.name
    key = GOES_ON.get(kind.__name__)
    if key and kind.__name__ in tracking:
        defaults[key] = tracking[kind.__name__]["id"]
    try:
        logger = kind(**{**defaults, **arguments})
        logger.log_hyperparams(config)  # the first word to its service, which may refuse
        if key:
            record.update(tracking={**tracking, kind.__name__: {"id": logger.version}})
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"logger: {kind.__name__} cannot start: {reason}") from error
    return logger
