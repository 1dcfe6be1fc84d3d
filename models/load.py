"""Read a finished run back: the net with its weights, its preprocessing and its class names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.build import build_net
from models.checkpoint import CARD, read_checkpoint
from models.weights import net_tensors
from settings.errors import UserError
from settings.paths import nfc
from settings.preprocessing import Preprocessing
from settings.run_names import checkpoint_of, find_run, runs_folder

SCHEMA = 1
MODEL_KEYS = ("name", "source", "arguments", "num_classes", "in_channels", "image_size")


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """A trained net in evaluation mode, ready to use; unpacks as (net, preprocessing, class_names).

    `net` maps float images (B, C, H, W), prepared as `preprocessing` says, to logits (B, len(class_names)).
    `checkpoint` holds the plain values that were stored beside the weights (configuration, split seed, ...).
    """

    net: nn.Module
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    checkpoint: dict[str, Any]

    def thresholds(self) -> dict[str, float]:
        """Label -> the probability above which it is there, as the run's validation chose.

        Raises:
            UserError: it chose none.
        """
        found = self.checkpoint.get("calibration", {}).get("thresholds")
        if found is None:
            task = self.checkpoint.get("task", "classification")
            raise UserError(f"thresholds=tuned: this run (task={task}) has none stored; task=multilabel stores them")
        return dict(zip(self.class_names, found, strict=True))

    def __iter__(self) -> Iterator[Any]:
        """Unpack as (net, preprocessing, class_names)."""
        return iter((self.net, self.preprocessing, self.class_names))


def find_checkpoint(path: str | Path, *, runs: str | Path | None = None) -> Path:
    """Find the checkpoint file that `load_run` would read.

    Raises:
        UserError: there is none.
    """
    return checkpoint_of(find_run(str(path), runs_folder(None if runs is None else str(runs)), key=""))


def load_run(path: str | Path, *, runs: str | Path | None = None) -> LoadedRun:
    """Load the best checkpoint of a run folder, or a checkpoint file; runs no code of the file.

    A run without best.ckpt has not been validated: its last.ckpt is taken, and a line says so.

    Args:
        path: a run folder, a checkpoint file, a name under the runs folder, or an experiment (its newest run); as
            for all scripts.
        runs: folder of all runs; else the project's.

    Raises:
        UserError: there is no such run or checkpoint, or it is not one of this template's.
    """
    file = find_checkpoint(path, runs=runs)
    stored = read_checkpoint(file)
    about = stored.get(CARD)
    if not isinstance(about, dict) or "state_dict" not in stored:
        raise UserError(
            f"{file} is not a checkpoint of a run: it has no key '{CARD}' that says net, class names and "
            f"preprocessing{_held(stored)}"
        )
    if about.get("schema") != SCHEMA:
        raise UserError(f"{file} has schema {about.get('schema')}; this version reads {SCHEMA}")
    if missing := _missing(about):
        raise UserError(f"{file} cannot be used alone: its key '{CARD}' lacks {', '.join(missing)}")
    with torch.random.fork_rng(devices=[]):  # the random start is overwritten; the caller's random state stays
        arguments = {key: about["model"][key] for key in MODEL_KEYS}
        net = build_net(**arguments, standardize=about["model"].get("standardize", "none"))
    try:
        net.load_state_dict(net_tensors(stored), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file} does not fit its own net {about['model'].get('name')}: {reason}") from error
    if (about.get("head") or len(about["class_names"])) != about["model"]["num_classes"]:
        raise UserError(
            f"{file} names {len(about['class_names'])} classes, and its net has {about['model']['num_classes']} outputs"
        )
    try:
        preprocessing = Preprocessing.from_dict(about["preprocessing"])
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: {error}") from error
    return LoadedRun(
        net=net.eval(),
        preprocessing=preprocessing,
        class_names=tuple(nfc(name) for name in about["class_names"]),
        checkpoint=about,
    )


def _missing(about: dict[str, Any]) -> list[str]:
    """What of a checkpoint's card is not there."""
    missing = [key for key in ("model", "class_names", "preprocessing") if not about.get(key)]
    model = about.get("model") or dict.fromkeys(MODEL_KEYS)
    missing += [f"model.{key}" for key in MODEL_KEYS if not isinstance(model, dict) or key not in model]
    return missing


def _held(stored: dict[str, Any]) -> str:
    keys = [str(key) for key in stored]
    return f"; it holds {', '.join(keys[:6])}{', ...' if len(keys) > 6 else ''}" if keys else ""
