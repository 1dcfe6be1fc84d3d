"""A real run's report: what stands in it, when it is written, and that it never costs the run."""

import csv
import itertools
import json
import signal
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import precision_recall_fscore_support

from callbacks.signals import Stopped
from datamodules.digits import Digits
from models import load_run
from models.analysis.class_scores import ClassScore, HardImage
from models.tasks import task_class
from reports import charts, page, report
from reports.report import Report
from settings.errors import UserError
from settings.reading.compose import compose, compose_jobs
from train import train

SMALL = ["model.width=4", "data.per_class=24", "data.batch_size=32", "trainer.max_epochs=3"]
FIGURES = {"loss", "accuracy", "learning_rate", "confusion_matrix", "hardest", "augmentation"}


class Page(HTMLParser):
    """The text, images, links and table cells of a page."""

    def __init__(self, text):
        super().__init__()
        self.text, self.images, self.links, self.scripts, self.rows = "", [], [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.scripts += tag == "script"
        self.images += [found] if tag == "img" else []
        self.links += [found[key] for key in ("href", "src", "srcset", "action") if key in found]
        self.rows += [[]] if tag == "tr" else []

    def handle_endtag(self, tag):
        self.rows += [[]] if tag == "tr" else []

    def handle_data(self, data):
        self.text += data
        if self.rows and data.strip():
            self.rows[-1].append(data.strip())


def run_folder(runs):
    (summary,) = runs.glob("*/*/summary.json")
    return summary.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs (v=2) [é]")
    train([*SMALL, "augment=light", "data.forbid=[]", "logger=tensorboard", f"paths.runs={runs}", "name=a <b> & 'c'"])
    return run_folder(runs)


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_holds_all_it_needs(folder, text):
    found = Page(text)
    assert found.scripts == 0 and found.images
    assert all(link.startswith(("data:", "#part-")) or (folder / link).exists() for link in found.links)
    assert {"config.yaml", "metrics.csv", "summary.json", "train.log"} <= set(found.links)
    assert [link for link in found.links if link.startswith("#")] == [f"#part-{n}" for n in range(1, 9)]
    assert "@import" not in text and "url(" not in text
    assert all(image["alt"] for image in found.images)
    assert {path.stem for path in (folder / "figures").iterdir()} == FIGURES
    for path in (folder / "figures").iterdir():
        with Image.open(path) as image:
            assert min(image.size) > 200 and len(image.convert("L").getcolors(256)) > 5, f"{path.name} shows nothing"


def test_it_says_what_the_summary_says_and_how_to_repeat_it(folder, text):
    found, summary = Page(text), json.loads((folder / "summary.json").read_text())
    low, high = summary["test/accuracy_interval"]
    for words in (
        f"{summary['metrics']['test/accuracy']:.4f}",
        f"95 % Wilson interval {low:.4f} to {high:.4f}, 359 images",
        f"{summary['metrics']['test/loss']:.4f}",
        summary["command"],
        "max_epochs: 3",
        summary["packages"]["torch"],
        summary["hardware"]["platform"],
        "a <b> & 'c'",
        "random_crop, horizontal_flip",
    ):
        assert words in found.text, words
    assert (summary["status"], summary["exit_code"]) == ("finished", 0)


def test_its_settings_say_first_what_differs_from_the_defaults(text):
    rows = [row for row in Page(text).rows if row]
    table = rows[rows.index(["setting", "this run", "default"]) + 1 :]
    table = list(itertools.takewhile(lambda row: "." in row[0] or row[0] in ("task", "augment"), table))
    assert ["model.width", "4", "16"] in table and ["data.batch_size", "32", "64"] in table
    (recipe,) = [row for row in table if row[0] == "augment"]
    assert recipe[1].startswith("random_crop") and recipe[2] == "none"
    lengths = [len(row) for row in table]
    assert lengths == sorted(lengths, reverse=True), "what is as usual has no third cell, and comes last"
    assert ["optimizer.name", "adamw"] in table and ["data.name", "digits"] in table


def scored(folder):
    """True and predicted labels, probabilities and keys of the test images, without the project's data code."""
    run, digits = load_run(folder), load_digits()
    with (folder / "splits.csv").open(newline="") as file:
        keys = [row["file"] for row in csv.DictReader(file) if row["split"] == "test"]
    chosen = [int(key.rpartition("/")[2]) for key in keys]
    pixels = (digits.images[chosen] * 255 / 16).round() / 255
    mean, std = run.preprocessing.mean[0], run.preprocessing.std[0]
    with torch.no_grad():
        images = torch.tensor((pixels - mean) / std, dtype=torch.float32)[:, None]
        probs = run.net.eval()(images).double().softmax(1)
    return torch.tensor(digits.target[chosen]), probs, keys


def test_its_table_and_hardest_images_are_the_best_checkpoints(folder, text):
    found, (true, probs, keys) = Page(text), scored(folder)
    expected = precision_recall_fscore_support(true, probs.argmax(1), labels=range(10), zero_division=0)
    rows = {row[0]: row[1:] for row in found.rows if len(row) == 5}
    for digit in range(10):
        values = [float(value.replace("–", "0")) for value in rows[str(digit)]]
        assert values == pytest.approx([part[digit] for part in expected], abs=6e-4)
    assert float(rows["mean"][2]) == pytest.approx(expected[2].mean(), abs=6e-4)
    losses = -probs[torch.arange(len(true)), true].log()
    order = losses.argsort(descending=True)[:24]
    wrong = (probs.argmax(1) != true)[order]
    hardest = [keys[index] for index in [*order[wrong].tolist(), *order[~wrong].tolist()]]
    places = [text.index(f'title="{key}"') for key in hardest]
    assert places == sorted(places) and text.count("<figure title=") == 24


def test_the_same_pictures_are_in_tensorboard(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
    assert {tag.removeprefix("figures/") for tag in found.Tags()["images"]} == FIGURES
    summary = json.loads((folder / "summary.json").read_text())
    (tested,) = found.Scalars("test/accuracy")
    assert tested.value == pytest.approx(summary["metrics"]["test/accuracy"]) and tested.step == summary["steps"]
    assert len(found.Scalars("val/loss")) == 3 and "lr" in found.Tags()["scalars"]


def test_the_best_epoch_is_marked():
    curves = {f"{split}/loss": [(10 * (e + 1), e, 1.0 / (e + 1)) for e in range(5)] for split in ("train", "val")}
    (axes,) = charts.epoch_curves(curves, "loss", 2).axes
    train_line, val_line, best = axes.lines
    assert list(train_line.get_xdata()) == [1, 2, 3, 4, 5] and list(val_line.get_ydata()) == [
        1,
        1 / 2,
        1 / 3,
        1 / 4,
        1 / 5,
    ]
    assert list(best.get_xdata()) == [3, 3] and best.get_label() == "best: epoch 3"
    assert charts.epoch_curves({}, "loss", None) is None and charts.rate_curve({}) is None


def test_class_names_are_text_and_never_markup():
    nasty = ["<script>alert(1)</script>", '"><img src=x>', "a$b$c & ünï"]
    score = ClassScore(name=nasty[0], precision=None, recall=0.5, f1=0.25, support=2)
    hard = HardImage(
        index=0, image=torch.zeros(3, 4, 4, dtype=torch.uint8), true=f"{nasty[0]} 10%",
        predicted=f"{nasty[1]} 90%", loss=2.0,
    )  # fmt: skip
    counts = torch.tensor([[1, 2, 0], [0, 3, 0], [0, 0, 1]])
    parts = [
        page.class_table([score]), page.tiles([hard], ['"x"'], title=nasty[1]), page.confusions_table(counts, nasty),
        page.facts({nasty[0]: nasty[1]}), page.bullets(nasty), page.command(nasty[0]), page.folded(nasty[0], nasty[1]),
    ]  # fmt: skip
    found = Page(
        page.page(
            title=nasty[0], status=nasty[1], lead=nasty[1], figures=[(nasty[0], nasty[1], nasty[2])],
            sections=[page.section(nasty[0], *parts, note=nasty[1])],
        )
    )  # fmt: skip
    assert found.scripts == 0 and len(found.images) == 1 and nasty[0] in found.text
    charts.confusion_matrix(counts, nasty).savefig("/dev/null", format="png")  # a formula would raise


@pytest.mark.parametrize("classes", [1, 2, 40, 200])
def test_a_confusion_matrix_of_any_number_of_classes_is_drawn(classes, tmp_path):
    figure = charts.confusion_matrix(torch.eye(classes, dtype=torch.int64), [f"class {n}" for n in range(classes)])
    figure.savefig(tmp_path / "a.png")
    assert max(figure.get_size_inches()) <= 14


def test_a_report_that_fails_costs_one_line_and_not_the_run(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no more ink")

    monkeypatch.setattr(charts, "confusion_matrix", broken)
    metrics = train([*SMALL, "trainer.max_epochs=1", f"paths.runs={tmp_path}"])
    folder = run_folder(tmp_path)
    assert [line for line in capsys.readouterr().out.splitlines() if "no more ink" in line] == [
        "no report.html: no more ink (the traceback is in train.log; the run is complete)"
    ]
    assert "Traceback" in (folder / "train.log").read_text() and not (folder / "report.html").exists()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["metrics"] == pytest.approx(metrics)


def test_ctrl_c_gets_a_report_of_what_was_learnt(tmp_path, monkeypatch):
    from callbacks.learning_rate import LearningRateMonitor

    def press(self, trainer, task):
        if trainer.current_epoch == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LearningRateMonitor, "on_train_epoch_end", press)
    with pytest.raises(Stopped):
        train([*SMALL, "trainer.max_epochs=9", f"paths.runs={tmp_path}"])
    folder = run_folder(tmp_path)
    found = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert json.loads((folder / "summary.json").read_text())["status"] == "interrupted"
    assert (
        "interrupted" in found.text
        and "Stopped by Ctrl-C" in found.text
        and "confusion_matrix" in {path.stem for path in (folder / "figures").iterdir()}
    )


def test_without_a_test_it_shows_the_training(tmp_path):
    train([*SMALL, "trainer.max_epochs=1", "test=false", "callbacks.report.augmented=0", f"paths.runs={tmp_path}"])
    folder = run_folder(tmp_path)
    assert {path.stem for path in (folder / "figures").iterdir()} == {"loss", "accuracy", "learning_rate"}
    assert "Hardest" not in (folder / "report.html").read_text(encoding="utf-8")


def test_the_interval_is_of_the_images_that_were_tested(tmp_path, capsys):
    metrics = train([*SMALL, "trainer.max_epochs=1", "trainer.limit_test_batches=2", f"paths.runs={tmp_path}"])
    assert "64 images)" in capsys.readouterr().out
    low, high = json.loads((run_folder(tmp_path) / "summary.json").read_text())["test/accuracy_interval"]
    expected = proportion_confint(round(64 * metrics["test/accuracy"]), 64)
    assert (low, high) == pytest.approx(expected, abs=1e-9)


def proportion_confint(hits, count, z=1.959963984540054):
    """Wilson's interval as the roots of its quadratic equation."""
    share = hits / count
    roots = np.roots([1 + z * z / count, -(2 * share + z * z / count), share * share])
    return min(roots), max(roots)


def test_null_writes_none(tmp_path):
    train([*SMALL, "trainer.max_epochs=1", "callbacks.report=null", f"paths.runs={tmp_path}"])
    assert not (run_folder(tmp_path) / "report.html").exists() and not (run_folder(tmp_path) / "figures").exists()


def test_a_multirun_writes_none_unless_it_is_asked_for():
    assert compose([]).callbacks.report is not None
    assert [job.callbacks.report for job in compose_jobs(["seed=0,1"], multirun=True)] == [None, None]
    for asked in ("callbacks.report=true", "callbacks.report.hardest=5", "callbacks.report={augmented: 2}"):
        assert all(job.callbacks.report for job in compose_jobs(["seed=0,1", asked], multirun=True)), asked


def test_a_missing_tensorboard_is_named_with_its_cure_before_anything_is_made(monkeypatch):
    monkeypatch.setattr("settings.schema.loggers.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"logger=tensorboard.*pip install -e \"\.\[tensorboard\]\""):
        compose(["logger=tensorboard"])


def test_durations_are_read_by_people():
    assert [report.duration(s) for s in (3.21, 42, 185, 7620)] == ["3.2 s", "42 s", "3 min 05 s", "2 h 07 min"]


def test_the_augmentation_sheet_shows_the_shares_of_mixed_labels(monkeypatch):
    data = Digits()
    data.configure(recipe={"mixup": {"alpha": 1.0}})
    figures = []
    task = task_class("classification")
    monkeypatch.setattr("reports.report.record_figure", lambda record, name, figure: figures.append(figure) or "x.png")
    monkeypatch.setattr("reports.report.page.pictures", lambda files, kind: "a sheet")
    assert "with its shares" in Report(augmented=4)._augmentation(None, task, data).note
    labels = [axes.texts[0].get_text() for axes in figures[0].axes]
    assert len(labels) == 4 * 6
    assert all(label in data.class_names for label in labels[:4])
    mixed = [[float(line.split()[1]) for line in label.split("\n")] for label in labels[4:] if "\n" in label]
    assert len(mixed) > 8
    assert all(sum(shares) == pytest.approx(1, abs=0.011) and shares == sorted(shares)[::-1] for shares in mixed)
