"""`python evaluate.py` on real runs: every number again from outside, ensembles, other data, what is refused."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as sk

from datamodules.digits import Digits
from evaluate import evaluate
from models import load_run
from settings.errors import UserError
from train import train

ROOT = Path(__file__).parents[1]
QUIET = ["callbacks.report=null", "callbacks.progress=false", "trainer.max_epochs=2", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three nets of the digits: two that differ in all but the data, and one of another split."""
    folder = tmp_path_factory.mktemp("runs")
    common = [*QUIET, f"paths.runs={folder}"]
    train([*common, "model.width=8", "model.depth=8", "name=net"])
    train([*common, "model=mlp", "model.widths=[64]", "data.image_size=12", "name=mlp"])
    train([*common, "model=mlp", "model.widths=[16]", "data.split_seed=1", "name=other"])
    return {path.name: path for path in folder.glob("*/*")}


def rows(file):
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def result(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def by_hand(run):
    """Probabilities of the test images by a loop without the template's own pipeline."""
    loaded, data = load_run(run), Digits()
    data.setup()
    source, how = data.splits["test"], loaded.preprocessing
    found = []
    for image in source.images:
        pixels = image[None]
        if how.image_size != 8:
            from torchvision.transforms.v2 import functional as v2

            pixels = v2.resize(pixels, [how.image_size], antialias=True)
        with torch.inference_mode():
            found.append(loaded.net((pixels / 255 - how.mean[0]) / how.std[0])[0].double().softmax(dim=0))
    return torch.stack(found).numpy(), source.targets.numpy(), source.keys


def test_the_test_accuracy_is_that_of_the_run_and_every_number_can_be_recomputed(runs, capsys):
    metrics = evaluate(f"run={runs['net']}")
    said = capsys.readouterr().out.splitlines()
    folder = runs["net"] / "evaluation" / "test-centre"
    assert said[-1] == f"evaluation: {folder}"
    summary = json.loads((runs["net"] / "summary.json").read_text())["metrics"]
    for name in ("test/accuracy", "test/accuracy_macro", "test/f1_macro"):
        assert metrics[name] == summary[name]
    assert metrics["test/loss"] == pytest.approx(summary["test/loss"], rel=1e-6)
    found = result(folder)
    assert found["metrics"] == metrics
    assert found["images"] == 359 and found["trained_on_images"] == 0
    assert set(found["meaning"]) == set(metrics)

    probs, targets, keys = by_hand(runs["net"])
    table = rows(folder / "predictions.csv")
    assert [row["path"] for row in table] == [row["key"] for row in table] == keys
    written = np.array([[float(row[f"probability of {digit}"]) for digit in range(10)] for row in table])
    assert np.abs(written - probs).max() < 1e-5
    assert [int(row["target"]) for row in table] == targets.tolist()
    guess = written.argmax(axis=1)
    assert [int(row["prediction"]) for row in table] == guess.tolist()
    assert [row["correct"] == "true" for row in table] == (guess == targets).tolist()
    expected = {
        "accuracy": sk.accuracy_score(targets, guess),
        "accuracy_macro": sk.balanced_accuracy_score(targets, guess),
        "top5_accuracy": sk.top_k_accuracy_score(targets, written, k=5),
        "f1_macro": sk.f1_score(targets, guess, average="macro"),
        "precision_weighted": sk.precision_score(targets, guess, average="weighted", zero_division=0),
        "loss": np.mean([float(row["loss"]) for row in table]),
        "brier": np.mean(((written - np.eye(10)[targets]) ** 2).sum(axis=1)),
    }
    assert {name: metrics[f"test/{name}"] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert found["confusion"] == sk.confusion_matrix(targets, guess).tolist()
    each = sk.precision_recall_fscore_support(targets, guess, zero_division=0)
    for place, line in enumerate(found["per_class"]):
        assert [line["precision"] or 0, line["recall"], line["f1"], line["support"]] == pytest.approx(
            [column[place] for column in each]
        )
    low, high = found["intervals"]["test/accuracy"]
    assert low < metrics["test/accuracy"] < high and high - low < 0.12
    assert [low, high] == json.loads((runs["net"] / "summary.json").read_text())["test/accuracy_interval"]
    assert "Wilson" in found["interval"] and "bootstrap" in found["interval"]
    assert sum(one["images"] for one in found["calibration"]) == 359

    losses = sorted((float(row["loss"]) for row in table), reverse=True)
    hardest, easiest = rows(folder / "hardest.csv"), rows(folder / "easiest.csv")
    assert [float(row["loss"]) for row in hardest] == losses[:100]
    assert [float(row["loss"]) for row in easiest] == losses[::-1][:100]
    assert set(row["path"] for row in hardest) <= set(keys)
    page = (folder / "report.html").read_text(encoding="utf-8")
    for part in ("Class by class", "Calibration", "Hardest images", "Easiest images", hardest[0]["path"], "macro F1"):
        assert part in page
    for name in ("confusion_matrix", "reliability", "confusions"):
        with Image.open(folder / "figures" / f"{name}.png") as picture:
            assert len(set(picture.convert("L").tobytes())) > 20


@pytest.mark.slow
def test_an_ensemble_of_different_nets_and_sizes_is_the_mean(runs, tmp_path):
    metrics = evaluate(f"run={runs['net']},{runs['mlp']}", "views=flip", f"output={tmp_path / 'out'}", "bootstrap=100")
    alone = {
        name: rows(runs[name] / "evaluation" / "test-flip" / "predictions.csv")
        for name in ("net", "mlp")
        if evaluate(f"run={runs[name]}", "views=flip", "bootstrap=0")
    }
    both = rows(tmp_path / "out" / "predictions.csv")
    for digit in range(10):
        column = f"probability of {digit}"
        mean = [(float(a[column]) + float(b[column])) / 2 for a, b in zip(alone["net"], alone["mlp"], strict=True)]
        assert [float(row[column]) for row in both] == pytest.approx(mean, rel=1e-6, abs=1e-12)
    found = result(tmp_path / "out")
    assert [one["preprocessing"]["image_size"] for one in found["members"]] == [8, 12]
    gains = rows(tmp_path / "out" / "gain.csv")
    assert [(row["views"], bool(row["gain"])) for row in gains] == [("centre", False), ("flip", True)] * 2 + [
        ("centre", True),
        ("flip", True),
    ]
    assert float(gains[-1]["accuracy"]) == metrics["test/accuracy"]
    assert (
        float(gains[0]["accuracy"])
        == json.loads((runs["net"] / "summary.json").read_text())["metrics"]["test/accuracy"]
    )
    singles = [float(row["accuracy"]) for row in gains if row["views"] == "flip"][:2]
    assert float(gains[-1]["gain"]) == pytest.approx(metrics["test/accuracy"] - max(singles))
    assert all(float(row["seconds_per_image"]) > 0 for row in gains)
    assert float(gains[-1]["cost"]) > 1


def test_a_member_that_was_trained_on_the_images_is_refused_by_name(runs, tmp_path):
    with pytest.raises(UserError, match=r"/other was trained on \d+ of the \d+ images of split=val") as refused:
        evaluate(f"run={runs['net']},{runs['other']}", "split=val")
    assert "/net " not in str(refused.value)
    with pytest.raises(UserError, match="was trained on"):  # another split than its own
        evaluate(f"run={runs['net']}", "split=val", "data.split_seed=5")
    alone = tmp_path / "alone.ckpt"  # what it was trained on follows from its configuration
    shutil.copy(runs["other"] / "checkpoints" / "best.ckpt", alone)
    with pytest.raises(UserError, match="was trained on"):
        evaluate(f"run={runs['net']},{alone}", "split=val")
    evaluate(
        f"run={runs['net']},{runs['other']}", "bootstrap=0", f"output={tmp_path / 'test'}"
    )  # the test set is apart
    assert not list(tmp_path.glob("evaluation"))


def test_training_images_are_scored_if_they_are_asked_for_and_it_is_said(runs, tmp_path, capsys):
    metrics = evaluate(f"run={runs['net']}", "split=all", "bootstrap=0", f"output={tmp_path}")
    found = result(tmp_path)
    assert found["images"] == 1797 and next(iter(metrics)) == "all/accuracy"
    trained = sum(row["split"] == "train" for row in rows(runs["net"] / "splits.csv"))
    assert found["trained_on_images"] == trained
    assert f"{trained} of the 1797 images were trained on" in capsys.readouterr().out
    table = rows(tmp_path / "predictions.csv")
    assert {row["split"] for row in table} == {"train", "val", "test"}


def export(folder, *, classes=range(10), rename=str):
    data = Digits()
    data.setup()
    source = data.splits["test"]
    for image, target, key in zip(source.images, source.targets.tolist(), source.keys, strict=True):
        if target in classes:
            place = folder / rename(target)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(place / f"{key[-4:]}.png")


def test_other_images_are_mapped_by_the_names_of_their_classes(runs, tmp_path):
    export(tmp_path / "new", classes=(1, 3, 7))
    metrics = evaluate(f"run={runs['net']}", f"data.root={tmp_path / 'new'}", "split=all", f"paths.data={tmp_path}")
    folder = runs["net"] / "evaluation" / "all-centre-new"
    table = {row["path"][-8:-4]: row for row in rows(folder / "predictions.csv")}
    probs, targets, keys = by_hand(runs["net"])
    wanted = [index for index, target in enumerate(targets) if target in (1, 3, 7)]
    assert len(table) == len(wanted)
    for index in wanted:
        row = table[keys[index][-4:]]
        assert int(row["target"]) == targets[index]
        assert [float(row[f"probability of {digit}"]) for digit in range(10)] == pytest.approx(probs[index], abs=1e-5)
    guess = probs[wanted].argmax(axis=1)
    assert metrics["all/accuracy"] == pytest.approx((guess == targets[wanted]).mean())
    assert metrics["all/accuracy_macro"] == pytest.approx(
        sk.recall_score(targets[wanted], guess, labels=[1, 3, 7], average="macro")
    )
    assert result(folder)["classes_without_images"] == [*"0245689"]


def test_a_class_that_the_net_does_not_know_is_refused_or_skipped(runs, tmp_path):
    export(tmp_path / "new", classes=(1, 3, 7), rename=lambda target: {7: "seven"}.get(target, str(target)))
    words = [f"run={runs['net']}", f"data.root={tmp_path / 'new'}", "split=all", f"paths.data={tmp_path}"]
    with pytest.raises(UserError, match=r"1 classes that the net does not know: 'seven'") as refused:
        evaluate(*words)
    assert "unknown=skip" in str(refused.value)
    evaluate(*words, "unknown=skip", f"output={tmp_path / 'out'}", "bootstrap=0")
    assert {row["target"] for row in rows(tmp_path / "out" / "predictions.csv")} == {"1", "3"}
    assert result(tmp_path / "out")["left_out_images"] > 0


def test_nets_of_other_classes_make_no_ensemble(runs, tmp_path):
    stored = torch.load(runs["mlp"] / "checkpoints" / "best.ckpt", weights_only=True)
    stored["lightbox"]["class_names"][3] = "three"
    torch.save(stored, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"tells other classes apart .*\+three, -3"):
        evaluate(f"run={runs['net']},{tmp_path / 'other.ckpt'}")


def test_robustness_is_a_table_and_a_plot_each(runs, tmp_path, capsys):
    words = ["corruptions=true", "attack=fgsm,pgd", "eps=0,0.1", "curves=true", "shortcut=true", "robustness_images=50"]
    words += ["bootstrap=0", "attack_steps=3", f"output={tmp_path}"]
    evaluate(f"run={runs['net']}", *words)
    assert "grey images have no hue" in capsys.readouterr().out
    found = result(tmp_path)["robustness"]
    assert 45 <= found["images"] <= 55
    tables = {name: rows(tmp_path / f"{name}.csv") for name in ("corruptions", "attacks", "curves", "shortcut")}
    assert len(tables["corruptions"]) == 50 and len(tables["attacks"]) == 4
    for name, table in tables.items():
        assert [float(row["accuracy"]) for row in table] == [row["accuracy"] for row in found[name]]
        assert all(float(row["low"]) <= float(row["accuracy"]) <= float(row["high"]) for row in table)
        for picture in (name, f"{name}_images"):
            assert (tmp_path / "figures" / f"{picture}.png").stat().st_size > 2000
    same = {("curves", "angle", 0), ("curves", "shift", 0), ("curves", "scale", 1), ("attacks", "pgd", 0)}
    same |= {("attacks", "fgsm", 0), ("shortcut", "centre masked", 0), ("shortcut", "background masked", 0)}
    plain = {(name, row["name"], row["level"]): row["accuracy"] for name in tables for row in found[name]}
    assert {plain[one] for one in same} == {found["accuracy"]}
    assert plain["attacks", "pgd", 0.1] <= plain["attacks", "fgsm", 0.1] < found["accuracy"]

    # One of them by hand, on the same images: the centre covered by the mean colour.
    loaded, data = load_run(runs["net"]), Digits()
    data.setup()
    from datamodules.splits import subset

    source = data.splits["test"]
    chosen = subset(source.keys, source.targets, fraction=50 / 359)
    pixels = source.images[chosen].float() / 255
    pixels[:, :, 2:6, 2:6] = round(loaded.preprocessing.mean[0] * 255) / 255
    with torch.inference_mode():
        guess = loaded.net((pixels - loaded.preprocessing.mean[0]) / loaded.preprocessing.std[0]).argmax(dim=1)
    assert (
        plain["shortcut", "centre masked", 0.25] == (guess == source.targets[chosen]).float().mean().item()
        or abs(plain["shortcut", "centre masked", 0.25] - (guess == source.targets[chosen]).double().mean().item())
        < 1e-9
    )
    with pytest.raises(UserError, match="images of different sizes"):
        evaluate(f"run={runs['net']},{runs['mlp']}", "attack=fgsm", "bootstrap=0")


def test_a_file_that_cannot_be_read_is_left_out_of_the_scores(runs, tmp_path, capsys):
    export(tmp_path / "new", classes=(1, 3))
    words = [
        f"run={runs['net']}",
        f"data.root={tmp_path / 'new'}",
        "split=all",
        f"paths.data={tmp_path}",
        "bootstrap=0",
    ]
    evaluate(*words, f"output={tmp_path / 'whole'}")
    whole = {row["path"]: row for row in rows(tmp_path / "whole" / "predictions.csv")}
    broken = sorted((tmp_path / "new" / "3").iterdir())[4]
    broken.write_bytes(broken.read_bytes()[:60])
    metrics = evaluate(*words, "data.check=off", "curves=true", f"output={tmp_path / 'rest'}")
    assert f"left out 1 files that cannot be read, such as {broken}" in capsys.readouterr().out
    rest = {row["path"]: row for row in rows(tmp_path / "rest" / "predictions.csv")}
    assert rest == {path: row for path, row in whole.items() if path != str(broken)}
    found = result(tmp_path / "rest")
    assert found["unreadable_files"] == [str(broken)] and found["images"] == len(whole) - 1
    assert found["robustness"]["accuracy"] == metrics["all/accuracy"]
    with pytest.raises(UserError, match=r"1 of .* files cannot be read"):
        evaluate(*words, "data.check=off", "data.max_bad_files=0", f"output={tmp_path / 'none'}")


@pytest.mark.parametrize("name", ["softmax", "whole", "interrupted"])
def test_an_older_run_is_scored_as_its_own_commit_did(name, tmp_path):
    """Runs of commit 2dbfc41: `tests/reliability/test_older_checkpoints.py` says how they were made."""
    run = ROOT / "tests" / "fixtures" / "runs_of_2dbfc41" / name
    metrics = evaluate(f"run={run}", f"output={tmp_path}")
    expected = json.loads((run / "expected.json").read_text())
    if "test/accuracy" in expected:
        assert metrics["test/accuracy"] == pytest.approx(expected["test/accuracy"], abs=1e-6)
    found = {row["path"]: row for row in rows(tmp_path / "predictions.csv")}
    for key, probs in expected["probabilities"].items():
        now = [float(found[f"digits/{key}"][f"probability of {digit}"]) for digit in range(10)]
        assert now == pytest.approx(probs, abs=1e-6), key


@pytest.mark.slow
def test_two_processes_write_the_same_files(runs, tmp_path):
    words = [f"run={runs['net']},{runs['mlp']}", "views=ten_crop", "split=val", "batch_size=20", "bootstrap=50"]
    words += ["corruptions=true", "shortcut=true", "robustness_images=60"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "evaluate.py"]
    for name, start in {"one": [sys.executable, "evaluate.py"], "two": launcher}.items():
        done = subprocess.run(
            [*start, *words, f"output={tmp_path / name}"], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"evaluation: {tmp_path / name}"
        assert done.stdout.count("val/accuracy ") == 1
    for file in ("metrics.json", "predictions.csv", "hardest.csv", "corruptions.csv", "shortcut.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


@pytest.mark.slow
def test_the_default_run_is_scored_as_its_summary_says(tmp_path):
    train([f"paths.runs={tmp_path}", "callbacks.report=null", "name=default"])
    (run,) = tmp_path.glob("*/default")
    metrics = evaluate(f"run={run}")
    summary = json.loads((run / "summary.json").read_text())["metrics"]
    assert metrics["test/accuracy"] == summary["test/accuracy"] >= 0.97
