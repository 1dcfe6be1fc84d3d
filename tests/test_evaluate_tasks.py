"""`python evaluate.py` on runs of each task but classification: the numbers of the run, and rows that are the net's."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from evaluate import evaluate
from settings.errors import UserError
from tests.models.tasks.test_runs import QUIET, folder_of, installed, label_probabilities, label_sets, scenes
from train import train

__all__ = ["label_sets", "scenes"]  # fixtures


@installed
def test_a_segmentation_has_the_scores_of_its_run(tmp_path: Path, scenes: list[str]) -> None:
    metrics = train([*scenes, *QUIET, "trainer.max_epochs=2", "name=whole", "callbacks.report=null"])
    run = folder_of(tmp_path, "whole")
    scored = evaluate(f"run={run}")
    assert scored.pop("test/loss") == pytest.approx(metrics["test/loss"], rel=1e-6)
    assert scored == {name: metrics[name] for name in scored}
    rows = list(csv.DictReader((run / "evaluation/test-centre/predictions.csv").read_text().splitlines()))
    assert len(rows) == 20 and {"path", "true", "predicted", "miou", "loss"} <= set(rows[0])
    with pytest.raises(UserError, match="views, attack: not for task=segmentation"):
        evaluate(f"run={run}", "views=ten_crop", "attack=fgsm")


def test_label_sets_have_the_scores_of_their_run(tmp_path: Path, label_sets: list[str]) -> None:
    metrics = train([*label_sets, "metrics=[hamming_distance]", "name=sets", "callbacks.report=null"])
    run = folder_of(tmp_path, "sets")
    scored = evaluate(f"run={run}")
    assert {name: scored[name] for name in metrics if name.startswith("test/")} == pytest.approx(
        {name: value for name, value in metrics.items() if name.startswith("test/")}, rel=1e-6
    )
    table = {
        row["path"]: row
        for row in csv.DictReader((run / "evaluation/test-centre/predictions.csv").read_text().splitlines())
    }
    found = json.loads((run / "evaluation/test-centre/metrics.json").read_text())
    assert [one["name"] for one in found["per_class"]] == [str(digit) for digit in range(10)]
    tuned = evaluate(f"run={run}", "thresholds=tuned", f"output={tmp_path / 'tuned'}")
    thresholds = json.loads((tmp_path / "tuned/metrics.json").read_text())["thresholds"]
    chosen = list(csv.DictReader((tmp_path / "tuned/predictions.csv").read_text().splitlines()))
    said = np.array([[float(row[name]) > value for name, value in thresholds.items()] for row in chosen])
    true = np.array([[name in row["true"].split("|") for name in thresholds] for row in chosen])
    assert tuned["test/f1_macro"] == pytest.approx(f1_score(true, said, average="macro")) != scored["test/f1_macro"]
    with pytest.raises(UserError, match="thresholds"):
        evaluate(f"run={run}", "thresholds=best")
    key = next(iter(table))
    expected = label_probabilities(run, tmp_path / key)
    assert {name: float(table[key][name]) for name in expected} == pytest.approx(expected, abs=1e-6)
