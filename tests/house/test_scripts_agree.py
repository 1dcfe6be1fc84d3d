"""What `evaluate.py` and `predict.py` say of one image is the same, and the run's own counts come out again."""

import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from evaluate import evaluate
from predict import run
from settings.commands.predict import compose_jobs
from tests.models.tasks.test_runs import folder_of, label_sets
from train import train

__all__ = ["label_sets"]  # a fixture


def table(file):
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def predicted(one, folder, keys):
    """What predict.py writes of these files of a folder."""
    listed, output = folder / "tested.txt", folder / "said.csv"
    listed.write_text("".join(f"{key}\n" for key in keys))
    (job,) = compose_jobs([f"run={one}", f"images={listed}", f"output={output}"], multirun=False)
    run(job)
    return table(output)


def test_evaluation_and_prediction_write_the_same_digits(tmp_path):
    digits = load_digits()
    for number in range(160):
        target = tmp_path / "photos" / f"class {digits.target[number] % 3}" / f"{number:03}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = Image.fromarray((digits.images[number] * 255 / 16).astype(np.uint8))
        pixels.resize((12, 12 + number % 5)).save(target)
    metrics = train(
        [
            *(
                "data=folder",
                f"data.root={tmp_path / 'photos'}",
                "data.image_size=10",
                "data.check=off",
                "augment=none",
            ),
            *("model=resnet20", "model.width=4", "model.depth=8", "trainer.max_epochs=1", "callbacks=none", "name=one"),
            *(f"paths.runs={tmp_path / 'runs'}", f"paths.data={tmp_path / 'data'}", "data.batch_size=16"),
            "trainer.precision=bf16-mixed",
        ]
    )
    one = folder_of(tmp_path, "one")
    found = evaluate(f"run={one}", "bootstrap=0")
    counts = [name for name in metrics if name.startswith("test/") and name != "test/loss"]
    assert {name: found[name] for name in counts} == {name: metrics[name] for name in counts}
    assert found["test/loss"] == pytest.approx(metrics["test/loss"], rel=1e-6)
    scored = table(one / "evaluation" / "test-centre" / "predictions.csv")
    said = predicted(one, tmp_path / "photos", [row["key"] for row in scored])
    assert len(said) == len(scored) > 16, "more than one batch"
    names = [f"class {label}" for label in range(3)]
    assert [[row[name] for name in names] for row in said] == [
        [row[f"probability of {name}"] for name in names] for row in scored
    ]


def test_label_sets_get_the_same_digits(tmp_path, label_sets):
    train([*label_sets, "name=sets", "callbacks.report=null"])
    one = folder_of(tmp_path, "sets")
    evaluate(f"run={one}")
    scored = table(one / "evaluation" / "test-centre" / "predictions.csv")
    said = predicted(one, tmp_path, [row["path"] for row in scored])
    own = ("path", "true", "predicted", "labels", "loss")
    names = [name for name in scored[0] if name not in own]
    assert names and [row["labels"] for row in said] == [row["labels"] for row in scored]
    assert [[row[name] for name in names] for row in said] == [[row[name] for name in names] for row in scored]
