"""What launchers and schedulers do to a run: a signal to one of its processes, a restart, a requeue, a second start."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from settings.errors import UserError
from settings.runs import RunLock
from tests.reliability.test_exact_resume import SMALL as TINY
from tests.reliability.test_kill_and_resume import differences, final_state
from tests.reliability.test_process_failures import OURS, TORCHRUN, fault, gone, project, run, start, summary
from train import train

__all__ = ["project"]  # a fixture

LINE = ["resume=auto", "callbacks.checkpoint.every_n_steps=4", "data.batch_size=32"]  # 40 steps an epoch
STANDALONE = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def folder(runs: Path) -> Path:
    (found,) = runs.glob("*/*")
    return found


def step_of(runs: Path) -> int:
    return torch.load(folder(runs) / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]


def assert_same(one: Path, other: Path) -> None:
    one, other = folder(one), folder(other)
    assert differences(final_state(one), final_state(other)) == []
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()


@pytest.fixture(scope="module")
def undisturbed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Number of processes -> where the run lies that nothing happened to."""
    found = {}
    for processes, how in ((1, ["train.py"]), (2, OURS)):
        found[processes] = tmp_path_factory.mktemp(f"whole-{processes}")
        code, _, errors = run(project, how, *LINE, "name=whole", f"paths.runs={found[processes]}")
        assert code == 0, errors
    return found


def wait_for(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until and not there():
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()


def test_a_second_start_neither_trains_nor_sweeps(tmp_path: Path) -> None:
    overrides = [*TINY, "trainer.max_epochs=1", f"paths.runs={tmp_path}", "name=a", "resume=auto"]
    train(overrides)
    lock = RunLock(folder(tmp_path))
    assert lock.take()
    saving = folder(tmp_path) / "checkpoints" / "last.ckpt.1.tmp"
    saving.write_bytes(b"what the first is just writing")
    with pytest.raises(UserError, match="in use by another process"):
        train([*overrides, "trainer.max_epochs=2", "scheduler.restart=true"])
    assert saving.is_file()
    lock.release()
    train([*overrides, "trainer.max_epochs=2", "scheduler.restart=true"])
    assert not saving.is_file()


@pytest.mark.slow
def test_a_second_process_is_refused_and_the_first_is_not_disturbed(
    project: Path, undisturbed: dict[int, Path], tmp_path: Path
) -> None:
    words = [*LINE, "name=a", f"paths.runs={tmp_path}"]
    first = start(project, ["train.py"], *words, "callbacks.checkpoint.every_n_steps=1", *fault("SIGSTOP", rank=0))
    wait_for(first, lambda: bool(list(tmp_path.glob("*/*/checkpoints/previous.ckpt"))))
    for _ in range(2):
        code, _, errors = run(project, ["train.py"], *words)
        assert code == 2 and "is in use by another process" in errors, errors
    first.send_signal(signal.SIGCONT)
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors
    assert_same(undisturbed[1], tmp_path)
    assert summary(tmp_path)["resumes"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "validating"), [("SIGTERM", True), ("SIGUSR1", False)])
def test_a_signal_to_one_process_stops_both_together(
    kind: str, validating: bool, project: Path, undisturbed: dict[int, Path], tmp_path: Path
) -> None:
    words = [*LINE, "name=a", f"paths.runs={tmp_path}"]
    step = 40 if validating else 30
    harm = fault(kind, validating=validating, step=step)
    code, _, errors = run(project, OURS, *words, *harm)
    assert code == 128 + getattr(signal, kind), errors
    assert errors.splitlines()[-1] == f"stopped by {kind}"
    assert step_of(tmp_path) == (40 if validating else 31)
    assert summary(tmp_path)["status"] == "interrupted"
    code, _, errors = run(project, OURS, *words, SLURM_RESTART_COUNT="1")  # else it happens again
    assert code == 0, errors
    assert_same(undisturbed[2], tmp_path)


@pytest.mark.slow
def test_torchrun_restarts_a_run_that_lost_a_process(
    project: Path, undisturbed: dict[int, Path], tmp_path: Path
) -> None:
    line = [*STANDALONE, "--max-restarts=1", "train.py"]
    code, output, errors = run(project, line, *LINE, f"paths.runs={tmp_path}", *fault("SIGKILL", step=50))
    assert code == 0, errors
    assert "going on with" in output and "step 48" in output
    assert folder(tmp_path).name.startswith("torchrun-"), "the run is named by torchrun's own number of it"
    assert summary(tmp_path)["resumes"] == 1
    assert_same(undisturbed[2], tmp_path)


@pytest.mark.slow
def test_a_signal_to_torchrun_reaches_the_processes(
    project: Path, undisturbed: dict[int, Path], tmp_path: Path
) -> None:
    words = [*LINE, "name=a", f"paths.runs={tmp_path}"]
    agent = start(project, TORCHRUN, *words, "trainer.max_epochs=2", *fault("slow", step=41))
    wait_for(agent, lambda: bool(list(tmp_path.glob("*/*/checkpoints/last.ckpt"))) and step_of(tmp_path) >= 24)
    agent.send_signal(signal.SIGTERM)
    _, errors = agent.communicate(timeout=120)
    assert agent.returncode != 0, errors
    assert gone(agent.pid)
    assert summary(tmp_path)["exit_code"] == 143, "torchrun gives its processes 30 s, then kills them"
    code, _, errors = run(project, TORCHRUN, *words)
    assert code == 0, errors
    assert_same(undisturbed[2], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["SIGUSR1", "SIGKILL"])
def test_a_job_that_slurm_requeues_goes_on(
    kind: str, project: Path, undisturbed: dict[int, Path], tmp_path: Path
) -> None:
    job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    job |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NUM_NODES": "1"}
    words = [*LINE, f"paths.runs={tmp_path}", *fault(kind, rank=0, step=50)]
    codes = []
    for variables in (job, {**job, "SLURM_RESTART_COUNT": "1"}):
        process = start(project, ["train.py"], *words, **variables)
        output, errors = process.communicate(timeout=300)
        codes.append(process.returncode)
    number = getattr(signal, kind)
    assert codes == [-number if kind == "SIGKILL" else 128 + number, 0], errors
    assert folder(tmp_path).name == "slurm-4711" and summary(tmp_path)["resumes"] == 1
    assert f"step {48 if kind == 'SIGKILL' else 51}" in output
    assert_same(undisturbed[1], tmp_path)
    process = start(project, ["train.py"], *words, **{**job, "SLURM_RESTART_COUNT": "2"})
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 2 and "nothing is left to train" in errors
