"""Where a run starts from: nothing, its own last checkpoint, or another run's best; and whether it still fits."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callbacks.checkpoint import newest_whole, sweep
from engine.process_group import Members
from engine.run_folder import RunRecord
from models.checkpoint import CARD, read_checkpoint
from settings.errors import NothingLeft, UserError
from settings.paths import nfc
from settings.runs import in_use, read_summary
from settings.schema import schedules
from settings.stored_files import MOST_BYTES_OF_TABLE, read_bytes
from settings.whole_file import write_bytes, writing

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A checkpoint to go on from.

    Attributes:
        checkpoint: the file, `None` for a new run.
        step: optimiser steps done, `None` for a new run.
        parent: the other run that the file belongs to, if it does.
    """

    checkpoint: Path | None = None
    step: int | None = None
    parent: Path | None = None

    def hand_down(self, record: RunRecord) -> None:
        """Give a child what its parent had by then: best and last checkpoint, and the metrics up to them.

        So the parent's best stays the best until it is beaten, and a child that is killed before its first save goes on
        as one.
        """
        if self.parent is None or self.checkpoint is None or not record.writes:
            return
        record.checkpoints.mkdir(exist_ok=True)
        for name in ("best.ckpt", "last.ckpt"):
            with writing(record.checkpoints / name) as fresh:
                shutil.copyfile(self.checkpoint, fresh)
        with suppress(FileNotFoundError):
            metrics = read_bytes(self.parent, "metrics.csv", most=MOST_BYTES_OF_TABLE)
            write_bytes(record.folder / "metrics.csv", metrics)


def find_start(
    *,
    run_folder: Path | None,
    parent: Path | None,
    resume: str | None,
    limits: Mapping[str, Any],
    schedule: str,
    card: Mapping[str, Any],
    allowed: list[str],
    members: Members,
) -> Start:
    """Choose and check the checkpoint to go on from; process 0 does, for all.

    Args:
        run_folder: the run that goes on, if one does.
        parent: the run whose best checkpoint a new run starts from, if one does.
        resume: the user's word; a checkpoint file is taken itself.
        limits: arguments of the trainer; a run that has reached `max_epochs`, `max_steps` or `max_time`, and has been
            tested, is not run again.
        schedule: name of the learning rate's schedule, which may have to be shaped anew for a longer run.
        card: what today's data and net are; a checkpoint of other data, net or classes is refused.
        allowed: configuration keys that may differ (`resume_allow`).
        members: this process among those of the run.

    Raises:
        NothingLeft: the run is over.
        UserError: no checkpoint can be read, or it belongs to something else.
    """
    folder = run_folder or parent
    if folder is None:
        return Start()

    def choose() -> tuple[str, int]:
        path, step = _choose(folder, run_folder, resume, limits, schedule, card, allowed)
        return str(path), step

    path, step = members.decided(choose)
    return Start(checkpoint=Path(path), step=step, parent=parent)


def _choose(
    folder: Path,
    run_folder: Path | None,
    resume: str | None,
    limits: Mapping[str, Any],
    schedule: str,
    card: Mapping[str, Any],
    allowed: list[str],
) -> tuple[Path, int]:
    checkpoints = folder / "checkpoints"
    if run_folder is not None:
        if in_use(folder):  # before what it is just writing is swept away
            raise UserError(f"{folder} is in use by another process; wait for it, or choose another name")
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
    _refuse_another(path, stored.get(CARD) or {}, card, allowed)
    # A run that was killed after its last step still has to be tested; then there is no step to train, but a summary.
    if run_folder is None or read_summary(folder).get("status") == "finished":
        _refuse_nothing(f"{folder}: {path.name}", stored, limits, schedule)
    print(
        f"going on with {folder} from {path.name}, epoch {stored['epoch']}, step {stored['global_step']}",
        flush=True,
    )
    return path, int(stored["global_step"])


def _refuse_nothing(what: str, stored: Mapping[str, Any], limits: Mapping[str, Any], schedule: str) -> None:
    epochs = stored["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    steps, callbacks = stored["global_step"], stored["callbacks"]
    done, again = f"is of epoch {epochs} of {limits['max_epochs']}", ""
    reached = [
        (key, f"{unit} {count} of {limits[key]}")
        for key, unit, count in (("max_epochs", "epoch", epochs), ("max_steps", "step", steps))
        if 0 < limits[key] <= count
    ]
    if reached:
        done = f"is of {' and '.join(words for _, words in reached)}"
        again = f"raise {' and '.join(f'trainer.{key}' for key, _ in reached)}"
        if schedules.follows_length(schedule):
            again += f", and add scheduler.restart=true: {schedule} was shaped for this length"
    elif "max_time" in limits and "Timer" in callbacks and not _time_left(callbacks["Timer"], limits["max_time"]):
        done, again = f"{done}, and trainer.max_time is over", "raise trainer.max_time"
    elif any(state.get("stop_training", False) for state in callbacks.values()):
        done, again = f"{done}, stopped early", "resume=best with another patience starts a new run"
    if again:
        raise NothingLeft(f"{what} {done}; nothing is left to train: {again}")


def _time_left(state: dict[str, Any], limit: Any) -> bool:
    from lightning.pytorch.callbacks import Timer

    timer = Timer(duration=limit)
    timer.load_state_dict(state)
    return (timer.time_remaining() or 0.0) > 0.0


def _other_classes(path: Path, before: Sequence[str] | None, now: Sequence[str]) -> list[str]:
    """What differs; `resume_allow` cannot permit it, because the labels would mean other classes."""
    before = None if before is None else [nfc(name) for name in before]
    if before is None or before == list(now):
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
        raise UserError(f"{path} cannot be resumed:", *differences)
