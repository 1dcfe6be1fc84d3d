"""Which run a `resume=` means."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from settings.errors import UserError
from settings.run_names import resumed_folder
from settings.runs import ROOT, RunLock, identity, new_folder, rooted


def make_run(
    runs: Path, name: str, *, started: float, status: str = "failed", files: tuple[str, ...] = ("last",)
) -> Path:
    folder = runs / "digits-resnet20" / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "summary.json").write_text(json.dumps({"status": status, "started": started}))
    for file in files:
        (folder / "checkpoints" / f"{file}.ckpt").touch()
    return folder


def resumed(runs: Path, resume: str, name: str | None = None) -> Path | None:
    return resumed_folder(resume=resume, name=name, runs=runs, kind="digits-resnet20")


def test_last_is_the_newest_unfinished_run_that_can_go_on_and_is_not_running(tmp_path: Path) -> None:
    wanted = make_run(tmp_path, "wanted", started=2.0)
    make_run(tmp_path, "older", started=1.0)
    make_run(tmp_path, "finished", started=5.0, status="finished")
    make_run(tmp_path, "unsaved", started=4.0, files=())
    running = make_run(tmp_path, "running", started=3.0, status="running")
    lock = RunLock(running)
    assert lock.take()
    assert resumed(tmp_path, "last") == resumed(tmp_path, "true") == wanted
    lock.release()
    assert resumed(tmp_path, "last") == running, "a run that was killed still says running, but holds no lock"


def test_auto_goes_on_or_starts(tmp_path: Path) -> None:
    assert resumed(tmp_path, "auto", "mine") is None
    unsaved = make_run(tmp_path, "mine", started=1.0, files=())
    assert resumed(tmp_path, "auto", "mine") is None
    assert new_folder(tmp_path, "digits-resnet20", "mine", resume="auto") == unsaved
    (unsaved / "checkpoints" / "previous.ckpt").touch()
    assert resumed(tmp_path, "auto", "mine") == unsaved


def test_auto_without_an_identity_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(UserError, match="name=ID"):
        resumed(tmp_path, "auto")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert identity(None) == "slurm-77" and identity("mine") == "mine"


def test_a_path_a_name_and_a_checkpoint_name_the_same_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a, b=c", started=1.0)
    for word in (str(folder), "a, b=c", str(folder / "checkpoints" / "last.ckpt")):
        assert resumed(tmp_path, word) == folder


def test_best_takes_the_newest_run_with_a_best_checkpoint(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "one", started=1.0, status="finished", files=("last", "best"))
    make_run(tmp_path, "two", started=2.0)
    assert resumed(tmp_path, "best") == folder


@pytest.mark.parametrize("word", ["last", "best", "mien", "nowhere/last.ckpt"])
def test_what_is_not_there_is_said(tmp_path: Path, word: str) -> None:
    make_run(tmp_path, "mine", started=1.0, files=())
    with pytest.raises(UserError, match=word.replace("nowhere/", "")):
        resumed(tmp_path, word)


def test_a_near_name_is_named(tmp_path: Path) -> None:
    make_run(tmp_path, "mine", started=1.0)
    with pytest.raises(UserError, match="nearest: mine"):
        resumed(tmp_path, "mien")


def test_new_folders_never_coincide(tmp_path: Path) -> None:
    assert len({new_folder(tmp_path, "k", None) for _ in range(20)}) == 20
    folder = new_folder(tmp_path, "k", "mine")
    assert new_folder(tmp_path, "k", "mine", resume="auto") == folder, "it has saved nothing"
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    for word, advice in {
        None: "go on with it by resume=auto",
        "auto": "run the same line again",
        "best": "resume=best starts a new run, which needs another name",
    }.items():
        with pytest.raises(UserError, match=advice) as caught:
            new_folder(tmp_path, "k", "mine", resume=word)
        assert word is None or "resume=auto" not in str(caught.value), "it was typed, or would not be taken"


def test_relative_paths_start_at_the_projects_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert rooted("runs") == ROOT / "runs"
    assert rooted(str(tmp_path)) == tmp_path
    assert rooted("~/photos") == Path.home() / "photos"


def test_a_worker_that_outlives_its_run_does_not_hold_the_folder(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    assert lock.take() and not RunLock(tmp_path).take()
    ready, tell = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.write(tell, b".")
        time.sleep(60)
        os._exit(0)
    try:
        assert os.read(ready, 1) and not RunLock(tmp_path).take()
        lock.release()
        assert RunLock(tmp_path).take()
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
