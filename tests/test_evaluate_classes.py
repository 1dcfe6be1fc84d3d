"""`python evaluate.py` on data whose classes are missing, extra or renamed: right labels, or a clear refusal."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evaluate import evaluate
from settings.errors import UserError
from tests.reliability.test_class_maps import changed, made

__all__ = ["made"]  # a fixture


def scored(run: Path, tmp_path: Path, *words: str) -> dict[str, Any]:
    evaluate(f"run={run}", "split=test", f"output={tmp_path / 'out'}", *words)
    return json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_an_old_checkpoint_keeps_its_accuracy_whatever_stands_beside_its_classes(made: Any, tmp_path: Path) -> None:
    run, photos, _, metrics = made
    assert 0.4 < metrics["test/accuracy"] < 1
    # "aardvark" comes first, and moves every number of a class in this folder
    more = changed(photos, tmp_path / "more", aardvark="new")
    with pytest.raises(UserError, match="aardvark"):
        scored(run, tmp_path, f"data.root={more}")
    found = scored(run, tmp_path, f"data.root={more}", "unknown=skip")
    assert found["metrics"]["test/accuracy"] == metrics["test/accuracy"]
    fewer = changed(photos, tmp_path / "fewer", bee=None)
    hits = _hits(tmp_path / "out" / "predictions.csv", without="bee")
    shutil.rmtree(tmp_path / "out")
    found = scored(run, tmp_path, f"data.root={fewer}")
    assert found["metrics"]["test/accuracy"] == hits / 40
    renamed = changed(photos, tmp_path / "renamed", bee="zebra")
    with pytest.raises(UserError, match="zebra"):
        scored(run, tmp_path, f"data.root={renamed}")


def _hits(table: Path, *, without: str) -> int:
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    return sum(row["target"] == row["prediction"] for row in rows if row["target"] != without)
