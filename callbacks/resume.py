"""Where a run starts from: nothing, its own last checkpoint, or another run's best; and whether it still fits."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callbacks.checkpoint import newest_whole, read_checkpoint, sweep
from callbacks.members import Members
from configs.errors import UserError
from configs.runs import read_summary

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A checkpoint to go on from.

    Attributes:
        checkpoint: the file, `None` for a new run.
        step: optimiser steps done, `None` for a new run.
    """

    checkpoint: Path | None = None
    step: int | None = None


def find_start(
    *,
    run_folder: Path | None,
    parent: Path | None,
    resume: str | None,
    max_epochs: int,
    card: Mapping[str, Any],
    allowed: list[str],
    members: Members,
) -> Start:
    """Choose and check the checkpoint to go on from; process 0 does, for all.

    Args:
        run_folder: the run that goes on, if one does.
        parent: the run whose best checkpoint a new run starts from, if one does.
        resume: the user's word; a checkpoint file is taken itself.
        max_epochs: the length that is asked for now; a run that has it already is not run again.
        card: what today's data and net are; a checkpoint of other data, net or classes is refused.
        allowed: configuration keys that may differ (`resume_allow`).
        members: this process among those of the run.

    Raises:
        UserError: no checkpoint can be read, or it belongs to something else.
    """
    folder = run_folder or parent
    if folder is None:
        return Start()

    def choose() -> tuple[str, int]:
        path, step = _choose(folder, run_folder, resume, max_epochs, card, allowed)
        return str(path), step

    path, step = members.decided(choose)
    return Start(checkpoint=Path(path), step=step)


def _choose(
    folder: Path,
    run_folder: Path | None,
    resume: str | None,
    max_epochs: int,
    card: Mapping[str, Any],
    allowed: list[str],
) -> tuple[Path, int]:
    checkpoints = folder / "checkpoints"
    if run_folder is not None:
        sweep(checkpoints)
    if resume and resume.endswith(".ckpt"):
        path = Path(resume).expanduser().resolve()
    elif run_folder is None:
        path = checkpoints / "best.ckpt"
    else:
        path, damaged = newest_whole(checkpoints)
        for bad in damaged:
            log.warning("%s is damaged; going on from %s", bad, path.name)
            print(f"damaged: {bad}; going on from {path.name}", flush=True)
    stored = read_checkpoint(path)
    _refuse_another(path, stored.get("lightbox") or {}, card, allowed)
    done = stored["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    over = run_folder is None or read_summary(folder).get("status") == "finished"
    if over and (done >= max_epochs or (run_folder and _stopped_early(stored))):
        raise UserError(
            f"{folder}: {path.name} is of epoch {done} of {max_epochs}"
            f"{', stopped early' if done < max_epochs else ''}; nothing is left to train: raise trainer.max_epochs"
        )
    print(
        f"going on with {folder} from {path.name}, epoch {stored['epoch']}, step {stored['global_step']}",
        flush=True,
    )
    return path, int(stored["global_step"])


def _stopped_early(stored: Mapping[str, Any]) -> bool:
    return any(state.get("stop_training", False) for state in stored["callbacks"].values())


def _other_classes(path: Path, before: Sequence[str] | None, now: Sequence[str]) -> list[str]:
    """What differs; `resume_allow` cannot permit it, because the labels would mean other classes."""
    if before is None or list(before) == list(now):
        return []
    missing, extra = [name for name in before if name not in now], [name for name in now if name not in before]
    parts = [
        f"{word} {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
        for word, names in (("without", missing), ("with", extra))
        if names
    ]
    what = " and ".join(parts) or f"in another order, {', '.join(now[:6])}"
    again = "model.weights=RUN transfer=full starts a new run from its weights, by the names of the classes"
    return [f"{path.name}: it tells {len(before)} classes apart, and the data now have {len(now)}, {what}; {again}"]


def _refuse_another(path: Path, stored: Mapping[str, Any], card: Mapping[str, Any], allowed: list[str]) -> None:
    differences = _other_classes(path, stored.get("class_names"), card["class_names"])
    for key, owner in (
        ("model", "model"),
        ("data_fingerprint", "data"),
        ("preprocessing", "data"),
    ):
        if stored.get(key) != card.get(key) and owner not in {name.partition(".")[0] for name in allowed}:
            differences.append(f"{path.name}: its {key} is {stored.get(key)}, today's is {card.get(key)}")
    if differences:
        raise UserError(f"{path} cannot be gone on with:", *differences)
