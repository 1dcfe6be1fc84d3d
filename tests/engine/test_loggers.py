"""Which loggers a run makes, and what each is handed."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import loggers as lightnings
from lightning.pytorch.loggers.logger import DummyLogger, Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.loggers.csv_logger import CsvLogger
from engine.loggers import build_loggers
from engine.run_folder import RunRecord
from settings.errors import UserError
from train import train

SMALL = ["data.per_class=4", "data.batch_size=20", "model=mlp", "trainer.max_epochs=1", "callbacks.report=null"]
MLFLOW = "lightning.pytorch.loggers.MLFlowLogger"


def test_each_of_several_is_told_what_metrics_csv_holds(tmp_path: Path) -> None:
    train([*SMALL, "logger=[tensorboard,CSVLogger]", "logger.prefix=my", "name=one", f"paths.runs={tmp_path}"])
    folder = tmp_path / "digits-mlp" / "one"
    with (folder / "metrics.csv").open(newline="") as file:
        ours = {key: value for row in csv.DictReader(file) for key, value in row.items() if value}
    with (folder / "lightning_logs/version_0/metrics.csv").open(newline="") as file:
        theirs = {key: value for row in csv.DictReader(file) for key, value in row.items() if value}
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert "test/accuracy" in ours
    for key in set(ours) - {"epoch", "step"}:
        assert float(theirs[f"my-{key}"]) == pytest.approx(float(ours[key]))
        assert events.Scalars(key)[-1].value == pytest.approx(float(ours[key]))
    assert (
        "model/name" in (folder / "lightning_logs/version_0/hparams.yaml").read_text()
        or "mlp" in (folder / "lightning_logs/version_0/hparams.yaml").read_text()
    )


class Service(DummyLogger):
    """Stands for MLflow's, whose package is not here: it draws an id, unless it is told one."""

    made: list[dict[str, Any]] = []

    def __init__(self, *, save_dir: str = "", run_name: str | None = None, run_id: str | None = None) -> None:
        super().__init__()
        self.made.append({"save_dir": save_dir, "run_name": run_name, "run_id": run_id})
        self._id = run_id or "drawn-by-the-service"

    @property
    def version(self) -> str:
        return self._id


Service.__name__ = "MLFlowLogger"


def test_a_service_goes_on_with_the_run_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightnings, "MLFlowLogger", Service)
    Service.made.clear()
    (tmp_path / "summary.json").write_text("{}")
    for step in (None, 5):
        record = RunRecord(tmp_path, {})
        build_loggers(record=record, chosen=[{"_target_": MLFLOW}], config={"seed": 0}, step=step)
    known = {"save_dir": str(tmp_path), "run_name": tmp_path.name}
    assert Service.made == [{**known, "run_id": None}, {**known, "run_id": "drawn-by-the-service"}]
    tracking = json.loads((tmp_path / "summary.json").read_text())["tracking"]
    assert tracking == {"id": None, "url": None, "MLFlowLogger": {"id": "drawn-by-the-service"}}


def test_a_service_that_refuses_is_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> Logger:
        raise ConnectionError("no such server: tracker.example\nand forty lines more")

    refuse.__name__ = "MLFlowLogger"
    monkeypatch.setattr(lightnings, "MLFlowLogger", refuse)
    with pytest.raises(UserError, match=r"MLFlowLogger cannot start: no such server: tracker\.example$"):
        build_loggers(record=RunRecord(tmp_path, {}), chosen=[{"_target_": MLFLOW}], config={}, step=None)


def test_only_the_process_that_writes_has_loggers(tmp_path: Path) -> None:
    csv_alone = [{"_target_": "callbacks.loggers.csv_logger.CsvLogger"}]
    first = build_loggers(record=RunRecord(tmp_path, {}), chosen=csv_alone, config={}, step=None)
    assert [type(one) for one in first] == [CsvLogger], "once, also where it is named"
    second = RunRecord(tmp_path, {})
    second.writes = False
    assert build_loggers(record=second, chosen=csv_alone, config={}, step=None) == []
