"""What a callback logs by `self.log` is as good a monitor as a metric of the task."""

import csv
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from settings.errors import UserError
from settings.schema import checks
from train import train

VALUES = [3.0, 1.0, 2.0, 2.5, 2.75]
"""What the callback logs, epoch by epoch: the second is the best of a monitor that should be low."""
RUN = [
    *("data=digits", "data.per_class=8", "data.batch_size=32", "augment=none", "model=mlp", "test=false"),
    *("trainer.max_epochs=5", "callbacks.report=null", "callbacks.progress=false"),
]
MINE = ["callbacks.mine._target_=callbacks.mine.Mine", "monitor=val/mine", "monitor_mode=min"]


class Mine(Callback):
    """Logs a value once a validation."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("val/mine", VALUES[trainer.current_epoch])


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The callback as a file of the forker's in callbacks/."""
    module: Any = ModuleType("callbacks.mine")
    module.Mine = Mine
    monkeypatch.setitem(sys.modules, "callbacks.mine", module)
    parsed = checks.signatures.ast.parse("class Mine:\n    pass\n")
    original = checks.signatures._module
    monkeypatch.setattr(
        checks.signatures, "_module", lambda name: parsed if name == "callbacks.mine" else original(name)
    )


def run(runs: Path, *more: str) -> Path:
    train([*RUN, *MINE, *more, f"paths.runs={runs}", "name=mine"])
    (folder,) = runs.glob("*/mine")
    return folder


def rates(folder: Path) -> dict[int, float]:
    return {int(row["epoch"]): float(row["lr"]) for row in rows(folder)}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["epoch"]]


def test_best_checkpoint_early_stopping_and_records_follow_it(mine: None, tmp_path: Path) -> None:
    folder = run(tmp_path, "callbacks.early_stopping.patience=2")
    found = rows(folder)
    assert [float(row["val/mine"]) for row in found] == VALUES[:4]  # stopped two epochs after the best
    assert [row["epoch"] for row in found] == ["0", "1", "2", "3"] and all(row["val/loss"] for row in found)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["monitor"], summary["best_epoch"], summary["metrics"]["val/mine"]) == ("val/mine", 1, 1.0)
    assert summary["metric_modes"]["mine"] == "min"
    assert torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["epoch"] == 1


def test_plateau_follows_it(mine: None, tmp_path: Path) -> None:
    more = ["scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5", "scheduler.warmup_epochs=0"]
    rate = rates(run(tmp_path, *more))
    assert rate[1] == rate[0] and rate[2] == rate[1]  # what an epoch shows counts from the next one on
    assert rate[3] == pytest.approx(rate[2] / 2) and rate[4] == pytest.approx(rate[3] / 2)


def test_a_monitor_that_nothing_logs_ends_the_run_at_the_first_validation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"monitor=val/mine: nothing logs it; logged are .*val/accuracy"):
        train([*RUN, "monitor=val/mine", "monitor_mode=min", f"paths.runs={tmp_path}", "name=mine"])
    (folder,) = tmp_path.glob("*/mine")
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["exit_code"]) == ("failed", 2)
