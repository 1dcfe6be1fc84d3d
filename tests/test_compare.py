"""`python compare.py` from the outside: its keys, its files, and real runs."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compare import compare, run
from reports.comparison import table
from reports.comparison.runs import find_folders
from settings.commands.compare import COMMAND, compose_jobs
from settings.commands.launch import launch
from settings.errors import UserError
from train import train

ROOT = Path(__file__).parents[1]
SMALL = ["data.per_class=10", "model=mlp", "callbacks=none", "trainer.max_epochs=2", "data.batch_size=50"]


def go(*arguments):
    return launch(run, arguments, compose_jobs=compose_jobs, help_page=COMMAND.format_help)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two ideas over two seeds, trained; and what train() returned for each."""
    folder = tmp_path_factory.mktemp("runs (v=2) [é] #1")
    found = {}
    for rate in (0.001, 0.01):
        for seed in (0, 1):
            words = [*SMALL, f"optimizer.lr={rate}", f"seed={seed}", f"name=lr{rate}_<i>{seed}", f"paths.runs={folder}"]
            found[rate, seed] = train(words)
    return folder, found


def test_a_checkpoint_alone_cannot_be_compared(tmp_path):
    (tmp_path / "lone.ckpt").write_text("")
    with pytest.raises(UserError, match="a checkpoint alone has no metrics"):
        find_folders([str(tmp_path / "lone.ckpt")], tmp_path / "runs")


def test_help_names_every_key_and_starts_without_torch(tmp_path):
    code = "import runpy, sys; sys.argv = ['compare.py', *{}]\ntry: runpy.run_path('compare.py', run_name='__main__')"
    code += "\nexcept SystemExit as stop: assert not stop.code\nprint('modules:', *sys.modules)"
    folder = tmp_path / "digits-mine" / "one"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text('{"status": "finished", "metrics": {"val/accuracy": 0.5}}')
    (folder / "config.yaml").write_text("seed: 0\n")
    for words, heavy in (
        (["--help"], {"yaml", "rich", "numpy"}),
        ([f"paths.runs={tmp_path}"], {"matplotlib", "hydra"}),
    ):
        result = subprocess.run(
            [sys.executable, "-c", code.format(words)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        page, _, modules = result.stdout.rpartition("modules:")
        assert not {"torch", "lightning", *heavy} & set(modules.split())
        if words == ["--help"]:
            assert all(f"  {key} " in page for key in COMMAND.keys) and max(map(len, page.splitlines())) <= 110
        else:
            assert "0.5000" in page


MISTAKES = {
    "b=test/accuracy": ["unknown key b", "by"],
    "optimizer.lr=0.1": ["optimizer.lr belongs to training", "where=optimizer.lr=0.1"],
    "order=best": ["order=best: must be one of highest, lowest"],
    "seeds=all by=": ["seeds=all: must be one of mean, each", "by=: must not be empty"],
    "where=fast": ["where=fast", "KEY=VALUE"],
    "output=a.pdf": ["a.pdf", ".html"],
    "by=a by=b": ["by is given 2 times"],
    "--sort x": ["--sort", "key=value"],
    "-m first": ["no grid"],
    "nowhere_at_all": ["nowhere_at_all: no such run folder"],
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_named_together(arguments, capsys):
    assert go(*arguments.split()) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in MISTAKES[arguments]) and "Traceback" not in said


def test_real_runs_are_ranked_by_what_they_reached(runs, tmp_path, capsys):
    folder, found = runs
    files = [tmp_path / "deep" / f"a, b.{ending}" for ending in ("csv", "md", "tex", "html")]
    assert go(f"paths.runs={folder}", *(f"output={file}" for file in files)) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("table: ")] == [f"table: {file}" for file in files]
    means = {rate: sum(found[rate, seed]["test/accuracy"] for seed in (0, 1)) / 2 for rate in (0.001, 0.01)}
    with files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {float(row["optimizer.lr"]): float(row["test/accuracy mean"]) for row in rows} == pytest.approx(means)
    assert [row["rank"] for row in rows] == ["1", "2"] and float(rows[0]["optimizer.lr"]) == max(means, key=means.get)
    assert [row["n"] for row in rows] == ["2", "2"]
    assert set(rows[0]) - {"rank", "ranking", "run", "status", "seeds", "n", "folders", "reason", "optimizer.lr"} == {
        f"test/accuracy {one}" for one in ("mean", "low", "high", "lowest", "highest")
    }, "only settings that differ are columns"
    assert all(f"{mean:.4f}" in file.read_text() for file in files for mean in means.values())
    assert "paired over 2 seeds" in said and "higher in 2 of 2 seeds" in said
    page = files[3].read_text()
    assert page.count("data:image/png") >= 4 and "<i>0" not in page and "&lt;i&gt;0" in page
    assert not re.search(r"<script|src=\"(?!data:)|href=\"(?!data:|#part-|[^\":]+\")|url\(", page)
    result = compare(f"paths.runs={folder}", "seeds=each", "by=train/loss")
    reached = [found[row.idea.first.config["optimizer.lr"], row.idea.first.seed]["train/loss"] for row in result.rows]
    assert reached == sorted(reached)


def test_latex_and_markdown_say_what_they_are_given(tmp_path, runs):
    assert table.latex("a_b & 50% of {x} #1 ~ \\ ^ $y$") == (
        r"a\_b \& 50\% of \{x\} \#1 \textasciitilde{} \textbackslash{} \textasciicircum{} \$y\$"
    )
    found = compare(f"paths.runs={runs[0]}", "columns=model.name,status")
    text = table.to_latex(found)
    assert text.index("\\toprule") < text.index("\\midrule") < text.index("\\bottomrule")
    body = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(body) == 3 and len({len(re.findall(r"(?<!\\)&", line)) for line in body}) == 1
    assert r"lr0.01\_\textless{}i\textgreater{}0" in text
    assert "lr0.01\\_&lt;i>0" in table.to_markdown(found)


def test_a_place_that_cannot_be_written_is_a_users_mistake(runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        compare(f"paths.runs={runs[0]}", f"output={tmp_path / 'file' / 'a.md'}")
    assert json.loads(next(runs[0].glob("*/*/summary.json")).read_text())["status"] == "finished"
