"""Which runs are found, grouped, ranked together and tested, on folders whose figures are known."""

import json
import os

import pytest

from reports.comparison import charts
from reports.comparison.page import to_html
from reports.comparison.result import compare_runs
from reports.comparison.runs import find_folders, read_run
from reports.comparison.table import pair_lines, shown
from settings.commands.compare import compose_jobs
from settings.errors import UserError


def compare(tmp_path, *arguments):
    (job,) = compose_jobs([f"paths.runs={tmp_path / 'runs'}", *arguments], multirun=False)
    return compare_runs(job)


def three_seeds(make_run, name, *overrides, accuracies):
    return [
        make_run(f"{name}-{seed}", *overrides, f"logger={('csv', 'wandb')[seed % 2]}", seed=seed, test_accuracy=one)
        for seed, one in enumerate(accuracies)
    ]


def test_seeds_become_one_row_with_its_interval(tmp_path, make_run):
    three_seeds(make_run, "slow", "optimizer.lr=0.001", accuracies=[0.90, 0.92, 0.94])
    three_seeds(make_run, "fast", "optimizer.lr=0.01", accuracies=[0.95, 0.93, 0.97])
    found = compare(tmp_path)
    assert found.metric == "test/accuracy" and found.columns == ["optimizer.lr"] and found.blocks == 1
    first, second = found.rows
    assert (first.rank, first.idea.label, first.idea.seeds) == (1, "digits-mine/fast-0 +2", "0, 1, 2")
    assert first.cells == {"optimizer.lr": 0.01} and second.cells == {"optimizer.lr": 0.001}
    half = 4.302652729911275 * 0.02 / 3**0.5  # Student's t with 2 degrees of freedom
    assert second.spread.interval == pytest.approx((0.92 - half, 0.92 + half))
    (pair,) = found.pairs
    assert pair.seeds.n == 3 and pair.seeds.difference == pytest.approx(0.03) and pair.seeds.first_higher == 3
    assert [row.rank for row in compare(tmp_path, "seeds=each").rows] == [1, 2, 3, 4, 5, 6]
    assert [row.cells["train_seconds"] for row in compare(tmp_path, "columns=train_seconds").rows] == [11.0, 11.0]


def test_by_order_where_and_columns(tmp_path, make_run):
    make_run("a", "optimizer.lr=0.001", test_accuracy=0.9, val_loss=0.5)
    make_run("b", "optimizer.lr=0.1", test_accuracy=0.8, val_loss=0.4)
    make_run("c", "optimizer=sgd", "optimizer.lr=0.02", test_accuracy=0.7, val_loss=0.6)

    def names(*arguments):
        return [row.idea.first.folder.name for row in compare(tmp_path, *arguments).rows]

    assert names() == ["a", "b", "c"]
    assert names("by=val/loss") == ["b", "a", "c"]
    assert names("by=val/loss", "order=highest") == ["c", "a", "b"]
    assert names("by=optimizer.lr") == ["a", "c", "b"]
    assert [row.rank for row in compare(tmp_path, "by=optimizer.lr").rows] == [1, 3, 2], "the metric still ranks"
    assert names("by=optimizer.lr", "order=highest") == ["b", "c", "a"]
    assert names("where=optimizer=adamw") == ["a", "b"] == names("where=optimizer.name!=sgd")
    assert names("where=test/accuracy>0.75", "where=optimizer.lr>=0.01") == ["b"]
    assert names("where=optimizer.lr=1e-3") == ["a"] and names("where=name=[bc]*") == ["b", "c"]
    assert "optimizer.momentum" not in compare(tmp_path).columns, "it follows from the optimiser's name"
    assert "trainer.max_epochs" in compare(tmp_path, "columns=trainer.max_epochs").columns
    with pytest.raises(UserError, match=r"none of 3 runs fits"):
        compare(tmp_path, "where=optimizer.lr>1")
    with pytest.raises(
        UserError, match=r"by=test/acuracy.*nearest: test/accuracy[\s\S]*where=optimizer.lrr.*optimizer.lr"
    ):
        compare(tmp_path, "by=test/acuracy", "where=optimizer.lrr=1")


def test_a_section_that_is_there_is_told_from_one_that_is_not(tmp_path, make_run):
    make_run("plain", test_accuracy=0.9)
    make_run("averaged", "callbacks.ema.decay=0.9", "augment=light", test_accuracy=0.91)
    found = compare(tmp_path)
    assert found.rows[0].cells == {"augment.random_crop": "on", "callbacks.ema": "on"}
    assert found.rows[1].cells == {"augment.random_crop": "–", "callbacks.ema": None}


def test_what_cannot_be_compared_is_ranked_apart_and_said(tmp_path, make_run):
    make_run("a", test_accuracy=0.7)
    make_run("b", "optimizer.lr=0.5", test_accuracy=0.9)
    make_run("c", test_accuracy=0.99, fingerprint="f1")
    make_run("d", test_accuracy=0.98, images=("a", "c"))
    make_run("e", "trainer.limit_test_batches=1", test_accuracy=0.97)
    make_run("f", "test=false", val_accuracy=0.9)
    found = compare(tmp_path)
    assert [(row.idea.first.folder.name, row.rank, row.block) for row in found.rows][:2] == [("b", 1, 0), ("a", 2, 0)]
    assert [row.rank for row in found.rows] == [1, 2, 1, 1, 1, None] and found.blocks == 4
    assert [row.block for row in compare(tmp_path, "by=val/accuracy").rows if row.rank] == [0]
    notes = "\n".join(found.notes)
    assert "not comparable: test/accuracy is about other data" in notes and "and other test images" in notes
    assert "not ranked: 1 finished without test/accuracy (digits-mine/f)" in notes
    assert all(pair.first.first.folder.name == "b" for pair in found.pairs), "no test across rankings"


def test_no_state_of_a_folder_stops_it(tmp_path, make_run):
    make_run("good", test_accuracy=0.9)
    make_run("stopped", status="interrupted", test_accuracy=0.99)
    make_run("broken", status="failed")
    make_run("killed", status="running")
    running = make_run("running", status="running")
    damages = {
        "cut": ("summary.json", b'{"schema": 1, "sta'),
        "list": ("summary.json", b"[]"),
        "deep": ("summary.json", b"[" * 200_000),
        "binary": ("config.yaml", bytes(range(256))),
        "bomb": ("config.yaml", b"a: &a [1]\nb: [*a, *a]\n"),
        "odd": ("summary.json", b'{"status": ["finished"], "metrics": 3}'),
    }
    for name, (file, content) in damages.items():
        (make_run(name, test_accuracy=1.0) / file).write_bytes(content)
    for name in ("no-config", "no-summary"):
        (make_run(name, test_accuracy=1.0) / f"{name[3:]}{'.yaml' if 'config' in name else '.json'}").unlink()
    nan = make_run("nan", "optimizer.lr=0.5", test_accuracy=1.0)
    (nan / "summary.json").write_text((nan / "summary.json").read_text().replace("1.0", "NaN"))
    cut = make_run("rows", "optimizer.lr=0.25", test_accuracy=0.8)
    (cut / "metrics.csv").write_bytes(b"epoch,step,val/loss\n0,1,0.5\nx,y,z\n\xff\x00,\n1,2,")
    empty = tmp_path / "runs" / "digits-mine" / "started"
    (empty / "checkpoints").mkdir(parents=True)
    fcntl = pytest.importorskip("fcntl")
    with (running / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
        found = compare(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == before, "nothing is written"
    status = {row.idea.first.folder.name: row.idea.first.status for row in found.rows}
    damaged = {*damages, "no-config", "no-summary", "started"}
    assert status == dict.fromkeys(damaged, "damaged") | {
        "good": "finished", "rows": "finished", "nan": "finished",
        "stopped": "interrupted", "broken": "failed", "killed": "killed", "running": "running",
    }  # fmt: skip
    assert [row.idea.first.folder.name for row in found.rows if row.rank] == ["good", "rows"]
    reasons = {row.idea.first.folder.name: row.idea.first.reason for row in found.rows}
    assert "UTF-8" in reasons["binary"] and "anchors" in reasons["bomb"] and "missing" in reasons["no-config"]
    assert any("1 failed (digits-mine/broken: the power went)" in note for note in found.notes)
    assert read_run(cut).curves() == {"val/loss": [(1, 0.5)]}


def test_the_last_run_of_a_seed_counts(tmp_path, make_run):
    make_run("again", test_accuracy=0.8, started=2.0)
    make_run("first", test_accuracy=0.9, started=1.0)
    found = compare(tmp_path)
    assert [row.idea.first.folder.name for row in found.rows] == ["again"]
    assert any("left out: digits-mine/first; " in note for note in found.notes)
    for words in (["first", "again"], ["digits-mine/*"]):  # named by the user
        found = compare(tmp_path, *words)
        assert [row.idea.first.folder.name for row in found.rows] == ["first", "again"]
        assert any("digits-mine/first stand in rows of their own" in note for note in found.notes)


def test_the_interval_of_a_share_is_a_share(tmp_path, make_run):
    """Two seeds that are far apart; the t-interval alone would go from -0.13 on to 1.12, and a loss below 0."""
    for seed, (accuracy, loss) in enumerate([(0.446, 0.1), (0.544, 3.0)]):
        make_run(f"far-{seed}", seed=seed, test_accuracy=accuracy, val_loss=loss)
    half = 12.706204736432095 * 0.049  # Student's t with 1 degree of freedom
    assert 0.495 - half < 0 and 0.495 + half > 1
    (row,) = compare(tmp_path).rows
    assert row.spread.interval == (0.0, 1.0)
    (row,) = compare(tmp_path, "by=val/loss").rows
    assert row.spread.interval == (0.0, pytest.approx(1.55 + 12.706204736432095 * 1.45))


def test_two_runs_are_tested_over_the_same_images(tmp_path, make_run, predict):
    one, other = make_run("one", test_accuracy=0.9), make_run("other", "optimizer.lr=0.5", test_accuracy=0.8)
    found = compare(tmp_path)
    assert found.pairs == [] and any("python evaluate.py run=digits-mine/one && python" in one for one in found.notes)
    right = {str(index): ("cat", "cat") for index in range(40)}
    predict(one, right)
    predict(other, right | {str(index): ("cat", "dog") for index in range(8)})
    predict(one, right, "test-flips")
    found = compare(tmp_path, "against=other")
    (pair,) = found.pairs
    assert pair.first.first.folder == other and list(pair.images) == ["test-center"]
    assert pair.images["test-center"].p == pytest.approx(2 / 2**8)
    said = " ".join(pair_lines(found))
    assert "difference -0.2000" in said and "in the second alone 8" in said and "p = 0.0078" in said
    predict(other, {"0": ("cat", "cat")})
    assert any("39 images stand in only one" in note for note in compare(tmp_path).notes)


def test_amounts_of_data_give_a_learning_curve(tmp_path, make_run):
    for fraction, accuracy in ((0.1, 0.6), (1.0, 0.9), (0.3, 0.8)):
        for seed, more in ((0, 0.0), (1, 0.02)):
            make_run(f"{fraction}-{seed}", f"data.fraction={fraction}", seed=seed, test_accuracy=accuracy + more)
    found = compare(tmp_path)
    assert list(charts.setting_charts(found)) == ["test/accuracy against data.fraction"]
    axes = charts._setting("data.fraction", found.metric, found.rows).axes[0]
    curve, *dots = axes.lines
    assert curve.get_xdata().tolist() == [0.1, 0.3, 1.0] and len(dots) == 3
    assert curve.get_ydata().tolist() == pytest.approx([0.61, 0.81, 0.91])
    make_run("all", test_accuracy=0.95)
    for count in (5, 40):
        make_run(f"few {count}", f"data.per_class={count}", test_accuracy=0.5)
    (job,) = compose_jobs([f"paths.runs={tmp_path / 'runs'}", "all", "few*"], multirun=False)
    few = compare_runs(job)
    axes = charts._setting("data.per_class", few.metric, few.rows).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()][:2] == ["5", "40"], "by number, all of them last"


def test_runs_are_found_by_every_kind_of_name(tmp_path, make_run, monkeypatch):
    monkeypatch.chdir(tmp_path)  # globs are looked for in the working folder, too
    folders = [make_run(name) for name in ("first", "second", "a=b, [c]")]
    (folders[0] / "checkpoints").mkdir()
    (folders[0] / "checkpoints" / "best.ckpt").write_bytes(b"")
    runs = tmp_path / "runs"
    wanted = {
        "first": 1, "digits-mine": 3, "digits-mine/second": 1, "first,second": 2, str(folders[2]): 1, "*": 3,
        "digits-mine/s*": 1, f"{runs}/*/first": 1, str(runs): 3, "s*": 1,
        str(folders[0] / "checkpoints" / "best.ckpt"): 1,
    }  # fmt: skip
    for word, count in wanted.items():
        assert len(find_folders([word], runs)) == count, word
    assert find_folders(["first", "first", str(folders[0])], runs) == [folders[0]]
    monkeypatch.chdir(folders[0].parent)
    assert find_folders(["./second"], runs) == [folders[1]]
    with pytest.raises(UserError, match=r"frist: no such run[\s\S]*nearest: first[\s\S]*x/y: no such"):
        find_folders(["frist", "x/y", "second"], runs)
    with pytest.raises(UserError, match="there is no run in"):
        find_folders([], tmp_path / "nowhere")
    assert json.loads((folders[0] / "summary.json").read_text())["status"] == "finished" and os.sep in str(runs)


def test_a_metric_is_ranked_by_the_end_that_its_run_calls_good(tmp_path, make_run):
    """`brier` and `agreement` say nothing by their names; what runs of a task say of its metrics counts."""
    for name, value in (("near", 0.05), ("far", 0.3)):
        folder = make_run(name, f"optimizer.lr={value}", test_brier=value, test_agreement=value)
        summary = json.loads((folder / "summary.json").read_text())
        summary["metric_modes"] = {"brier": "min", "agreement": "max"}
        (folder / "summary.json").write_text(json.dumps(summary))
    for words, first in (([], "near"), (["by=test/brier"], "near"), (["by=test/agreement"], "far")):
        found = compare(tmp_path, *words)
        assert found.rows[0].idea.first.folder.name == first, words


def test_a_row_is_called_by_what_differs_within_its_ranking(tmp_path, make_run):
    three_seeds(make_run, "slow", "optimizer.lr=0.001", accuracies=[0.90, 0.92, 0.94])
    make_run("fast", "optimizer.lr=0.01", test_accuracy=0.97)
    make_run("averaged", "optimizer.lr=0.01", "callbacks.ema.decay=0.9", test_accuracy=0.96)
    make_run("other", "model=lenet5", fingerprint="f1", test_accuracy=0.5)
    make_run("broken", status="failed")
    found = compare(tmp_path)
    names = {row.idea.first.folder.name: row.name for row in found.rows}
    assert names == {
        "slow-0": "lr=0.001 · 3 seeds", "fast": "lr=0.01", "averaged": "lr=0.01 +ema",
        "other": "lenet5", "broken": "digits-mine/broken",
    }  # fmt: skip
    assert "model.name" not in found.columns, "it differs between rankings alone"
    header, rows = shown(found)
    assert header[:3] == ["rank", "row", "test/accuracy"] and header[-1] == "run"
    assert rows[0][:3] == ["A1", "lr=0.01", "0.9700"]


def test_each_data_set_has_axes_of_its_own(tmp_path, make_run):
    for name, rate, fingerprint in (("a", 0.1, "f0"), ("b", 0.2, "f0"), ("c", 0.2, "f1")):
        folder = make_run(name, f"optimizer.lr={rate}", fingerprint=fingerprint, test_accuracy=0.9)
        if name == "c":
            config = (folder / "config.yaml").read_text().replace("name: digits\n", "name: letters\n")
            (folder / "config.yaml").write_text(config)
    found = compare(tmp_path)
    drawn = list(charts.charts(found))
    assert drawn[:2] == ["test/accuracy of each row, digits (A)", "test/accuracy of each row, letters (B)"]
    pairs = [(metric, data) for metric in ("val/accuracy", "val/loss") for data in ("digits", "letters")]
    assert [one for one in drawn if "epoch" in one] == [f"{metric} against the epoch, {data}" for metric, data in pairs]
    assert "data.name" in found.columns


def test_the_page_leads_to_reports_evaluations_and_tracking(tmp_path, make_run):
    folder = make_run("a <b>", test_accuracy=0.9)
    for page in (folder / "report.html", folder / "evaluation" / "test-centre" / "report.html"):
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("a page")
    for url, there in (("https://wandb.ai/x", True), ("javascript:alert(1)", False)):
        summary = json.loads((folder / "summary.json").read_text())
        summary["tracking"] = {"id": "x", "url": url}
        (folder / "summary.json").write_text(json.dumps(summary))
        html = to_html(compare(tmp_path), tmp_path)
        assert (url in html) == there
    assert 'href="runs/digits-mine/a%20%3Cb%3E/report.html"' in html
    assert 'href="runs/digits-mine/a%20%3Cb%3E/evaluation/test-centre/report.html"' in html
