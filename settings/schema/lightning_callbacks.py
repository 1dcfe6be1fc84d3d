"""Lightning's own callbacks, named by `callbacks.NAME._target_`: which there are, and which a run does in its own way.

Their source is read; nothing is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

from settings.errors import nearest
from settings.schema import signatures

MODULE = "lightning.pytorch.callbacks"
"""The one module of a library that a configuration may name."""

OURS = {"StochasticWeightAveraging": "callbacks.swa.StochasticWeightAveraging"}
"""Those that stand behind a class of ours: its constructor is the schema, and it is what a run makes."""

INSTEAD = {
    "BackboneFinetuning": "transfer=gradual (its backbone stays frozen after a resume)",
    "BaseFinetuning": "transfer=MODE",
    "BasePredictionWriter": "predict.py run=RUN output=FILE.csv",
    "BatchSizeFinder": "explore.py do=batch_size",
    "Callback": "a class of your own in callbacks/FILE.py",
    "Checkpoint": "callbacks.checkpoint (a run always keeps its last and best)",
    "EMAWeightAveraging": "callbacks.ema.decay=0.999",
    "EarlyStopping": "callbacks.early_stopping.patience=5",
    "GradientAccumulationScheduler": "trainer.accumulate_grad_batches (the batch size is one for the whole run)",
    "LambdaCallback": "a class of your own in callbacks/FILE.py (its arguments are functions)",
    "LearningRateFinder": "explore.py do=lr",
    "LearningRateMonitor": "callbacks.learning_rate",
    "ModelCheckpoint": "callbacks.checkpoint (a run always keeps its last and best)",
    "ModelPruning": "a class of your own in callbacks/FILE.py (its checkpoints cannot be gone on from)",
    "ModelSummary": "trainer.enable_model_summary=true",
    "OnExceptionCheckpoint": "callbacks.checkpoint (a failed run keeps its last)",
    "ProgressBar": "callbacks.progress",
    "RichModelSummary": "trainer.enable_model_summary=true",
    "RichProgressBar": "callbacks.progress",
    "SpikeDetection": "trainer.gradient_clip_val and callbacks.finite",
    "TQDMProgressBar": "callbacks.progress",
    "ThroughputMonitor": "train_samples_per_second in summary.json",
    "Timer": "trainer.max_time",
    "WeightAveraging": "callbacks.ema.decay=0.999",
}
"""Those that cannot work here, or would fight with what a run does itself -> what to use in their place."""


def is_one(target: Any) -> bool:
    """Whether a target is `lightning.pytorch.callbacks.` and one name."""
    return isinstance(target, str) and target.rpartition(".")[0] == MODULE


def source_of(target: str) -> str:
    """The class that a target means: itself, or ours in place of Lightning's."""
    return OURS.get(target.rpartition(".")[2], target) if is_one(target) else target


@cache
def known() -> tuple[str, ...]:
    """The callbacks that can be named."""
    return tuple(name for name in signatures.classes_of(MODULE) if name not in INSTEAD)


def refused(section: Mapping[str, Any]) -> str | None:
    """Why a section with such a `_target_` cannot be, if so."""
    name = section["_target_"].rpartition(".")[2]
    if name in INSTEAD:
        return f"={MODULE}.{name} does not work here; use {INSTEAD[name]}"
    if name not in known():
        close = nearest(name, [*known(), *INSTEAD])
        return f"={MODULE}.{name}: there is no such callback; " + (
            f"nearest: {', '.join(close)}" if close else f"there is: {', '.join(known())}"
        )
    if name == "DeviceStatsMonitor" and section.get("cpu_stats") is not False and find_spec("psutil") is None:
        return f"={MODULE}.{name}: needs the package psutil (pip install psutil), or cpu_stats=false"
    return None
