"""Loader workers that raise, end, are killed or hang, alone and in two processes: all is over in time, in one line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.reliability.test_process_failures import gone, words_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DATA = '''"""Images of which one makes its reader go wrong."""

import os
import time
from typing import Any

import torch

from datamodules.folder import Folder
from datamodules.sources.files import FileSource

read = FileSource.image


def image(source: FileSource, index: int, *rest: Any) -> torch.Tensor:
    """Go wrong at one file, as WRONG says."""
    if source.keys[index].endswith("trap.png"):
        if os.environ["WRONG"] == "raise":
            raise ValueError("boom")
        if os.environ["WRONG"].startswith("exit"):
            os._exit(int(os.environ["WRONG"][-1]))
        time.sleep(1e6)
    return read(source, index, *rest)


FileSource.image = image


class Wrong(Folder):
    """The folder as it is."""
'''
SMALL = [
    *("data=folder", "data._target_=datamodules.wrong.Wrong", "data.channels=1", "data.image_size=16"),
    *("data.batch_size=8", "data.check=off", "data.num_workers=2", "data.worker_timeout=6", "model=mlp"),
    *("trainer.accelerator=cpu", "callbacks=none", "test=false", "name=x"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with data that go wrong, and the pictures of both kinds."""
    copy = tmp_path_factory.mktemp("project") / "copy"
    for name in ("callbacks", "configs", "datamodules", "engine", "models", "reports", "settings"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", copy)
    (copy / "datamodules" / "wrong.py").write_text(DATA)
    for kind in ("good", "bad"):
        for split, count in (("train", 40), ("val", 4)):
            for name in "ab":
                (folder := copy / kind / split / name).mkdir(parents=True)
                for number in range(count):
                    Image.effect_noise((16, 16), 30 + 60 * (name == "a")).save(folder / f"{number}.png")
    (copy / "bad/train/a/39.png").rename(copy / "bad/train/a/trap.png")
    return copy


def start(project: Path, tmp_path: Path, kind: str, *words: str, wrong: str = "") -> subprocess.Popen[str]:
    own = [f"data.root={project / kind}", f"paths.runs={tmp_path / 'runs'}", f"paths.data={tmp_path}"]
    return subprocess.Popen(
        [sys.executable, "train.py", *SMALL, *own, *words],
        cwd=project,
        env={**os.environ, "WRONG": wrong},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(process: int, *, forked: bool = True) -> list[int]:
    """Numbers of the child processes: its workers, which share its command line, or those that it started."""
    stats = [stat for stat in Path("/proc").glob("[0-9]*/stat") if words_of(stat)[1:2] == [str(process)]]
    own = Path(f"/proc/{process}/cmdline").read_bytes()
    return [int(stat.parent.name) for stat in stats if ((stat.parent / "cmdline").read_bytes() == own) is forked]


def a_worker(process: subprocess.Popen[str], tmp_path: Path, *, of_rank_1: bool) -> int:
    """Number of a worker of a run that has made its first epoch."""
    until = time.monotonic() + 300
    while not list(tmp_path.glob("runs/*/x/checkpoints/last.ckpt")):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.05)
    owner = children(process.pid, forked=False)[0] if of_rank_1 else process.pid
    return children(owner)[0]


def reason(tmp_path: Path) -> tuple[str, int]:
    (path,) = tmp_path.glob("runs/*/x/summary.json")
    summary = json.loads(path.read_text())
    assert summary["status"] == "failed"
    return summary["reason"], summary["exit_code"]


CASES = {
    "raise": (1, "failed: ValueError: boom (where: train.log, or traceback=true)"),
    "exit 3": (1, "exited unexpectedly with exit code 3"),
    "exit 0": (1, "exited unexpectedly with exit code 0"),
    "sleep": (124, "no batch came from the data workers for 6 s (data.worker_timeout)"),
}


@pytest.mark.parametrize(("wrong", "devices"), [*((one, 1) for one in CASES), ("raise", 2), ("sleep", 2)])
def test_a_worker_that_goes_wrong_ends_the_run(wrong: str, devices: int, project: Path, tmp_path: Path) -> None:
    process = start(project, tmp_path, "bad", f"trainer.devices={devices}", "trainer.max_epochs=3", wrong=wrong)
    output, errors = process.communicate(timeout=400)
    code, words = CASES[wrong]
    assert process.returncode == code, errors
    # multiprocessing shows the connections that end with a worker, where one was just being used.
    line = errors.splitlines()[-1]
    assert words in line and errors.count(words) == 1, errors
    assert output.splitlines()[-1].startswith("run: ")
    said, kept = reason(tmp_path)
    assert kept == code and line.rpartition("failed: ")[2] in said
    assert gone(process.pid)
    (log,) = tmp_path.glob("runs/*/x/train.log")
    assert wrong != "raise" or 'raise ValueError("boom")' in log.read_text()


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_is_killed_or_stopped_ends_the_run(
    kind: signal.Signals, devices: int, project: Path, tmp_path: Path
) -> None:
    process = start(project, tmp_path, "good", f"trainer.devices={devices}", "trainer.max_epochs=9999")
    victim = a_worker(process, tmp_path, of_rank_1=devices == 2)
    os.kill(victim, kind)
    struck = time.monotonic()
    _, errors = process.communicate(timeout=200)
    print(f"{kind.name}, {devices} processes: over after {time.monotonic() - struck:.1f} s")
    code = 1 if kind == signal.SIGKILL else 124
    words = f"data worker (pid {victim}) is killed by signal: Killed" if code == 1 else CASES["sleep"][1]
    assert process.returncode == code, errors
    assert errors.count(words) == 1 and words in errors.splitlines()[-1], errors
    assert words in reason(tmp_path)[0]
    assert gone(process.pid)


def test_workers_end_with_a_run_that_is_killed_even_if_they_hang(project: Path, tmp_path: Path) -> None:
    process = start(project, tmp_path, "bad", "trainer.max_epochs=2", "data.worker_timeout=999", wrong="sleep")
    until = time.monotonic() + 300
    while not children(process.pid):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    time.sleep(3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert gone(process.pid)
