"""`python evaluate.py` on runs of each task but classification: the numbers of the run, and rows that are the net's."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score

from datamodules.fashion_scenes import FashionScenes
from evaluate import evaluate
from models import load_run
from settings.errors import UserError
from settings.paths import ROOT
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
    with pytest.raises(UserError) as refused:
        evaluate(f"run={run}", "views=ten_crop", "attack=fgsm", "bootstrap=5")
    for word in ("views=ten_crop: not for task=segmentation, which has centre, flip", "attack: not for", "bootstrap:"):
        assert word in str(refused.value)

    flipped = evaluate(f"run={run}", "views=flip")
    loaded, data = load_run(run), FashionScenes(data_dir=tmp_path / "data")
    source = data.sources()["test"]
    pixels = (source.images / 255.0 - loaded.preprocessing.mean[0]) / loaded.preprocessing.std[0]
    with torch.inference_mode():
        probs = loaded.net(pixels).double().softmax(dim=1)
        both = (probs + loaded.net(pixels.flip(-1)).flip(-1).double().softmax(dim=1)) / 2
    assert flipped["test/pixel_accuracy"] == pytest.approx(float((both.argmax(1) == source.targets).double().mean()))
    everything = evaluate(f"run={run}", "split=all", f"output={tmp_path / 'all'}")
    assert next(iter(everything)) == "all/miou"
    assert json.loads((tmp_path / "all" / "metrics.json").read_text())["images"] == 48 + 16 + 20


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


def test_an_ensemble_of_label_sets_is_the_mean_probability_whatever_the_order_of_its_classes(
    tmp_path: Path, label_sets: list[str]
) -> None:
    train([*label_sets, "name=one", "test=false", "callbacks.report=null"])
    train([*label_sets, "name=two", "seed=1", "test=false", "callbacks.report=null"])
    one, two = (folder_of(tmp_path, name) for name in ("one", "two"))
    turned = tmp_path / "turned.ckpt"
    stored = torch.load(two / "checkpoints/best.ckpt", weights_only=True)
    card, weights = stored["lightbox"], stored["state_dict"]
    order = list(reversed(range(len(card["class_names"]))))
    card["class_names"] = [card["class_names"][place] for place in order]
    for key in [key for key, value in weights.items() if value.shape[:1] == (len(order),)]:  # the head's
        weights[key] = weights[key][order]
    torch.save(stored, turned)
    both = evaluate(f"run={one},{turned}", "views=flip", f"output={tmp_path / 'both'}")
    assert set(both) == set(evaluate(f"run={one}", "views=flip"))
    table = list(csv.DictReader((tmp_path / "both" / "predictions.csv").read_text().splitlines()))
    first = table[0]
    expected = dict.fromkeys(label_probabilities(one, tmp_path / first["path"]), 0.0)
    mirror = tmp_path / "mirror.png"
    Image.open(tmp_path / first["path"]).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirror)
    for run in (one, two):
        for file in (tmp_path / first["path"], mirror):
            for name, value in label_probabilities(run, file).items():
                expected[name] += value / 4
    assert {name: float(first[name]) for name in expected} == pytest.approx(expected, abs=1e-6)
    found = json.loads((tmp_path / "both" / "metrics.json").read_text())
    assert len(found["members"]) == 2 and found["members"][0]["trained_on_images"] == 0

    fewer = tmp_path / "other"  # other data: the classes are mapped by name, and an unknown one is told
    fewer.mkdir()
    given = ["9|7", "zebra|1", "1"] * 10
    lines = [f"{number}.png,{names}" for number, names in enumerate(given)]
    (fewer / "labels.csv").write_text("\n".join(["file,labels", *lines, ""]))
    for number in range(len(given)):
        shutil.copy(tmp_path / f"{number}.png", fewer)
    words = [f"run={one}", f"data.root={fewer / 'labels.csv'}", "split=all", f"output={tmp_path / 'new'}"]
    with pytest.raises(UserError, match="'zebra'"):
        evaluate(*words)
    evaluate(*words, "unknown=skip")
    rows = csv.DictReader((tmp_path / "new" / "predictions.csv").read_text().splitlines())
    wanted = {f"{number}.png": ("7|9", "1", "1")[number % 3] for number in range(len(given))}
    assert {row["path"]: row["true"] for row in rows} == wanted


@pytest.mark.slow
def test_two_processes_score_label_sets_as_one_does(tmp_path: Path, label_sets: list[str]) -> None:
    train([*label_sets, "name=one", "test=false", "callbacks.report=null"])
    run = folder_of(tmp_path, "one")
    words = [f"run={run}", "split=val", "views=flip"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "evaluate.py"]
    for name, start in {"one": [sys.executable, "evaluate.py"], "two": launcher}.items():
        done = subprocess.run([*start, *words, f"output={tmp_path / name}"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"evaluation: {tmp_path / name}"
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert one["metrics"] == pytest.approx(two["metrics"], rel=1e-6)
    assert {key: value for key, value in one.items() if key != "metrics"} == {
        key: value for key, value in two.items() if key != "metrics"
    }
    tables = [(tmp_path / name / "predictions.csv").read_text().splitlines() for name in ("one", "two")]
    one, two = (list(csv.DictReader(table)) for table in tables)
    for mine, theirs in zip(one, two, strict=True):  # batches of a process are smaller, and round otherwise
        numbers = [name for name in mine if name.isdigit() or name == "loss"]
        assert {name: float(mine.pop(name)) for name in numbers} == pytest.approx(
            {name: float(theirs.pop(name)) for name in numbers}, rel=1e-6
        )
        assert mine == theirs
