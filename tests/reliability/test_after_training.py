"""A run that is killed when nothing is left to train still gets its test, its summary and its report."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine.test_best
from callbacks.checkpoint import LastCheckpoint
from callbacks.signals import Stopped
from engine.run_folder import RunRecord
from models.tasks.classification import Classification
from settings.errors import UserError
from tests.reliability.test_exact_resume import SMALL, assert_same_end
from train import train

COMMON = [*SMALL, "test=true", "callbacks.ema.decay=0.8", "resume=auto"]
FULL = ["trainer.max_epochs=2"]
EARLY = ["optimizer=sgd", "optimizer.lr=1e-6", "callbacks.early_stopping.patience=2", "trainer.max_epochs=9"]
CLOCK = ("started", "train_seconds", "train_samples_per_second", "command", "resumes")
"""What differs between two runs of the same."""

MOMENTS = {
    "last epoch saved": (LastCheckpoint, "on_train_epoch_end", "after"),
    "before the test": (engine.test_best, "score_best", "before"),
    "in the test": (Classification, "test_step", "before"),
    "before the summary": (RunRecord, "update", "before"),
}


def killed(work: Callable[[], Any], moment: str, signum: int = signal.SIGKILL) -> None:
    """Do the work in a copy of this process, which gets the signal at the moment when no step is left."""
    where, name, when = MOMENTS[moment]
    original = getattr(where, name)

    def reached(arguments: tuple[Any, ...], values: dict[str, Any]) -> bool:
        if name == "on_train_epoch_end":
            trainer = arguments[1]
            return trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        return name != "update" or "best_epoch" in values

    def watched(*arguments: Any, **values: Any) -> Any:
        result = original(*arguments, **values) if when == "after" else None
        if reached(arguments, values):
            os.kill(os.getpid(), signum)
        return result if when == "after" else original(*arguments, **values)

    child = os.fork()
    if not child:
        code = 99
        try:
            setattr(where, name, watched)
            work()
        except Stopped as stop:
            code = stop.exit_code
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (-signum if signum == signal.SIGKILL else 128 + signum)


def found(runs: Path, name: str) -> tuple[dict[str, Any], str]:
    (folder,) = runs.glob(f"*/{name}")
    summary = json.loads((folder / "summary.json").read_text())
    return summary, (folder / "metrics.csv").read_text()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two undisturbed runs."""
    runs = tmp_path_factory.mktemp("runs")
    for name, more in {"full": FULL, "early": EARLY}.items():
        train([*COMMON, *more, f"paths.runs={runs}", f"name={name}"])
    return runs


@pytest.mark.parametrize(
    ("whole", "moment", "signum"),
    [
        *(("full", moment, signal.SIGKILL) for moment in MOMENTS),
        ("full", "in the test", signal.SIGTERM),
        ("early", "last epoch saved", signal.SIGKILL),
    ],
)
def test_a_run_killed_after_its_last_step_is_tested(
    whole: str, moment: str, signum: int, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{whole} {moment} {signum}"
    line = [*COMMON, *(FULL if whole == "full" else EARLY), f"paths.runs={runs}", f"name={name}"]
    killed(lambda: train(line), moment, signum)
    assert found(runs, name)[0]["status"] == ("running" if signum == signal.SIGKILL else "interrupted")
    monkeypatch.setattr(Classification, "training_step", lambda *_: pytest.fail("a step too many"))
    metrics = train(line)
    (first, rows), (second, rows_again) = found(runs, whole), found(runs, name)
    assert metrics == first["metrics"] and "test/accuracy" in metrics
    assert rows == rows_again
    assert first.keys() == second.keys()
    for key in set(first) - set(CLOCK):
        assert first[key] == second[key], key
    assert (second["status"], second["exit_code"], second["resumes"]) == ("finished", 0, 1)
    assert_same_end(runs, whole, name)
    with pytest.raises(UserError, match="nothing is left to train"):
        train(line)


def test_its_report_is_that_of_the_whole_training(runs: Path) -> None:
    line = [*COMMON, *FULL, "callbacks.report.augmented=0", f"paths.runs={runs}", "name=shown"]
    killed(lambda: train(line), "before the test")
    train(line)
    (folder,) = runs.glob("*/shown")
    assert "loss curve" in (page := (folder / "report.html").read_text()) and "confusion matrix" in page
