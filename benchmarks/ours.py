"""Real runs of ours in this process, without the start-up, the report and the test."""

import contextlib
import io
import runpy
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def loop_seconds(clock: Callable[[], float] = time.process_time) -> Iterator[list[float]]:
    """Collect how long each fit of Lightning's inside takes, from the making of its loaders to its last hook."""
    from lightning.pytorch.loops.fit_loop import _FitLoop

    taken: list[float] = []
    run = _FitLoop.run

    def timed(loop: _FitLoop) -> None:
        start = clock()
        run(loop)
        taken.append(clock() - start)

    with patch.object(_FitLoop, "run", timed):
        yield taken


def fit_seconds(overrides: Sequence[str]) -> float:
    """CPU seconds of the fit that `python train.py OVERRIDES` does: metrics, CSV, checkpoints and all."""
    return fit([*overrides, "test=false"])[0]


def fit(overrides: Sequence[str]) -> tuple[float, dict[str, float]]:
    """CPU seconds of the fit that `python train.py OVERRIDES` does, and the metrics of its best checkpoint."""
    train = runpy.run_path(str(ROOT / "train.py"))["train"]  # nothing imports an entry script
    with (
        tempfile.TemporaryDirectory() as scratch,
        contextlib.redirect_stdout(io.StringIO()),
        loop_seconds() as taken,
    ):
        metrics = train([*overrides, "callbacks.report=null", f"paths.runs={scratch}"])
    return taken[0], metrics
