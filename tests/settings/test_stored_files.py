"""Run folders from strangers: read with limits, regular files only, and never out of the folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reports.comparison.runs import number, read_run
from reports.setting_values import canonical
from settings.errors import UserError
from settings.reading import files
from settings.runs import RunLock, read_summary, started
from settings.stored_files import read_bytes, read_text, refuse_strange_files

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "runs" / "kind" / "name"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 3\n")
    (folder / "summary.json").write_text('{"status": "finished", "metrics": {"test/accuracy": 0.5}}')
    (folder / "metrics.csv").write_text("step,epoch,val/loss\n1,0,0.25\n")
    (folder / "splits.csv").write_text("file,class,split\na,x,test\n")
    return folder


def replaced(folder, name, secret):
    (folder / name).unlink()
    (folder / name).symlink_to(secret)


def test_files_and_links_within_the_folder_are_read(folder):
    (folder / "config.yaml").rename(folder / "real.yaml")
    (folder / "config.yaml").symlink_to("real.yaml")
    assert read_text(folder, "config.yaml") == "seed: 3\n"
    run = read_run(folder)
    assert (run.status, run.seed, run.metrics, run.curves()) == (
        "finished",
        3,
        {"test/accuracy": 0.5},
        {"val/loss": [(1, 0.25)]},
    )
    refuse_strange_files(folder)
    with pytest.raises(FileNotFoundError):
        read_bytes(folder, "none")
    with pytest.raises(UserError, match="too large: 8 bytes"):
        read_bytes(folder, "config.yaml", most=7)


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "metrics.csv", "splits.csv"])
def test_a_link_out_of_the_folder_is_not_followed(name, folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("file,class,split\nstep,epoch,password\n1,0,12345\npassword: 12345\n,,test\n")
    replaced(folder, name, secret)
    run = read_run(folder)
    assert "12345" not in repr(run) and run.curves().keys() <= {"val/loss"}
    assert run.test_images == "" or name != "splits.csv"
    with pytest.raises(UserError, match="leads out of the run folder"):
        read_bytes(folder, name)
    with pytest.raises(UserError, match="leads out of the run folder"):
        refuse_strange_files(folder)
    if name == "config.yaml":
        assert files.read_stored(folder, "x").problems == ["x: config.yaml is a link that leads out of the run folder"]
    if name == "summary.json":
        assert read_summary(folder) == {}


def test_pipes_are_not_waited_for(folder):
    for name in ("config.yaml", "summary.json", "metrics.csv", "splits.csv"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    os.mkfifo(folder / ".lock")
    with pytest.raises(UserError, match="no regular file"):
        refuse_strange_files(folder)
    assert RunLock(folder).take()
    code = (
        "import sys; from pathlib import Path; from reports.comparison.runs import read_run;"
        "run = read_run(Path(sys.argv[1])); print(run.status, run.curves(), run.reason)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.startswith("damaged {} summary.json cannot be read (summary.json is no regular file)")


def test_numbers_of_hundreds_of_digits_are_no_numbers(folder):
    huge = "9" * 400
    text = (
        f'{{"status": "finished", "started": {huge}, "steps": {huge}, "metrics": {{"a": {huge}, "b": -1e999, "c": 2}}}}'
    )
    (folder / "summary.json").write_text(text)
    (folder / "config.yaml").write_text(f"seed: 1\nmodel:\n  depth: {huge}\n")
    run = read_run(folder)
    assert (run.status, dict(run.metrics), run.facts) == ("finished", {"c": 2.0}, {})
    assert started(folder) == 0.0
    assert number(int(huge)) is None
    assert canonical(run.config["model.depth"]) == huge
    (folder / "summary.json").write_text("[" * 100_000)
    assert read_run(folder).status == "damaged" and read_summary(folder) == {}
    (folder / "summary.json").write_text(json.dumps([1]))
    assert read_summary(folder) == {}
