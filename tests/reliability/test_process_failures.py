"""Runs in two processes, in which something happens to one: signals, failures, a hang; and every way to start them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from settings.world import TORCHRUN as TORCHRUN_VARIABLES
from tests.reliability.test_kill_and_resume import differences, final_state
from train import train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FAULT = '''"""Something goes wrong in one process at one step of the first start."""

import os
import signal
import time
from typing import Any

from lightning import Callback


class Fault(Callback):
    """Do `kind` in process `rank` when step `step` begins, or the validation behind it."""

    def __init__(self, *, kind: str, rank: int = 1, step: int = 30, validating: bool = False) -> None:
        self.kind, self.rank, self.step, self.validating = kind, rank, step, validating

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Go wrong."""
        if self.kind == "keys":
            pl_module.log(f"of {trainer.global_rank}", float(trainer.global_rank), on_epoch=True, sync_dist=True)
        if not self.validating:
            self._go_wrong(trainer)

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Go wrong."""
        if self.validating and batch_idx == 1:
            self._go_wrong(trainer)

    def _go_wrong(self, trainer: Any) -> None:
        again = any(os.environ.get(name, "0") != "0" for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))
        if again or (trainer.global_rank, trainer.global_step) != (self.rank, self.step):
            return
        if self.kind == "raise":
            raise RuntimeError("boom")
        if self.kind == "hang":
            time.sleep(1e6)
        if self.kind == "slow":
            time.sleep(3)
        if self.kind.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.kind))
'''
SMALL = [
    *("data=digits", "data.forbid=[]", "data.batch_size=64", "augment=light", "model=resnet20", "model.width=2"),
    *("optimizer=sgd", "optimizer.lr=0.05", "trainer.accelerator=cpu", "trainer.max_epochs=2", "test=false"),
    *("callbacks.report=null", "callbacks.ema.decay=0.9"),
]  # 20 steps an epoch
TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node=2", "train.py"]
OURS = ["train.py", "trainer.devices=2"]


UNEVEN = '''"""Each process has fewer images than the one before it."""

import os
from collections.abc import Mapping

import torch

from datamodules.digits import Digits
from datamodules.sources.source import Source


class Uneven(Digits):
    """The digits, but for the last ones."""

    def sources(self) -> Mapping[str, Source]:
        """Leave some out."""
        less = 7 * int(os.environ.get("RANK", "0"))
        return {split: one.subset(torch.arange(len(one) - less)) for split, one in super().sources().items()}
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with a callback that goes wrong."""
    copy = tmp_path_factory.mktemp("project") / "copy"
    for name in ("callbacks", "configs", "datamodules", "engine", "models", "reports", "settings"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", copy)
    (copy / "callbacks" / "fault.py").write_text(FAULT)
    (copy / "datamodules" / "uneven.py").write_text(UNEVEN)
    return copy


def start(project: Path, how: list[str], *words: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *how, *SMALL, *words],
        cwd=project,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(project: Path, how: list[str], *words: str, **variables: str) -> tuple[int, str, str]:
    process = start(project, how, *words, **variables)
    output, errors = process.communicate(timeout=300)
    assert gone(process.pid), "a process is left behind"
    return process.returncode, output, errors


def gone(session: int) -> bool:
    """Whether no process of the session is alive."""
    until = time.monotonic() + 15
    while time.monotonic() < until:
        alive = [
            stat
            for stat in Path("/proc").glob("[0-9]*/stat")
            if (fields := words_of(stat)) and fields[3] == str(session) and fields[0] != "Z"
        ]
        if not alive:
            return True
        time.sleep(0.2)
    return False


def words_of(stat: Path) -> list[str]:
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return []


def summary(runs: Path) -> dict[str, Any]:
    (found,) = runs.glob("*/*/summary.json")
    return json.loads(found.read_text())


def fault(kind: str, **more: Any) -> list[str]:
    keys = {"_target_": "callbacks.fault.Fault", "kind": kind, **more}
    return [f"callbacks.fault.{key}={value}" for key, value in keys.items()]


def test_a_pair_that_was_stopped_in_mid_epoch_ends_like_an_undisturbed_one(project: Path, tmp_path: Path) -> None:
    line = ["name=a", "resume=auto"]
    code, output, errors = run(project, TORCHRUN, *line, f"paths.runs={tmp_path / 'whole'}")
    assert code == 0, errors
    assert output.splitlines()[-1].startswith("run: ")
    stopped = tmp_path / "stopped"
    code, output, errors = run(project, OURS, *line, f"paths.runs={stopped}", *fault("SIGTERM"))
    assert (code, errors.splitlines()[-1]) == (143, "stopped by SIGTERM")
    assert (summary(stopped)["status"], summary(stopped)["exit_code"]) == ("interrupted", 143)
    (last,) = stopped.glob("*/*/checkpoints/last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 31, "the step in which the signal came is kept"
    code, output, errors = run(project, OURS, *line, f"paths.runs={stopped}")
    assert code == 0, errors
    assert "from last.ckpt, epoch 1, step 31" in output
    (one,), (other,) = (list((tmp_path / name).glob("*/a")) for name in ("whole", "stopped"))
    assert differences(final_state(one), final_state(other)) == []
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text(), "sums of both processes go on"
    # The number of processes is not changed on the quiet.
    code, _, errors = run(project, ["train.py"], *line, f"paths.runs={stopped}", "trainer.devices=1")
    assert code == 2 and "trainer.devices: the run was made with 2, now it is 1" in errors


def test_a_process_that_raises_ends_the_other_with_its_message(project: Path, tmp_path: Path) -> None:
    code, output, errors = run(project, OURS, f"paths.runs={tmp_path}", *fault("raise"))
    assert code == 1
    assert errors.count("RuntimeError: boom") == 1, "one process says it"
    assert summary(tmp_path)["reason"] == "process 1 of 2 failed: boom"
    assert output.splitlines()[-1].startswith("run: ")
    (log,) = tmp_path.glob("*/*/train.log")
    assert "In process 1:" in log.read_text() and "fault.py" in log.read_text()


def test_a_process_that_is_killed_is_named(project: Path, tmp_path: Path) -> None:
    code, _, errors = run(project, OURS, f"paths.runs={tmp_path}", *fault("SIGKILL"))
    assert (code, errors.splitlines()[-1]) == (1, "process 1 of 2 failed: ended by SIGKILL")
    assert summary(tmp_path)["status"] == "failed"


def test_a_process_that_hangs_is_given_up(project: Path, tmp_path: Path) -> None:
    code, _, errors = run(project, OURS, f"paths.runs={tmp_path}", "trainer.process_timeout=5", *fault("hang"))
    assert code == 124 and "did not answer for 5 s (trainer.process_timeout)" in errors
    assert summary(tmp_path)["exit_code"] == 124


def test_the_other_process_ends_when_the_first_is_killed(project: Path, tmp_path: Path) -> None:
    code, _, _ = run(project, OURS, f"paths.runs={tmp_path}", *fault("SIGKILL", rank=0))
    assert code == -signal.SIGKILL


def test_ctrl_c_reaches_all_processes_and_still_tests(project: Path, tmp_path: Path) -> None:
    words = ["test=true", "trainer.max_epochs=400", f"paths.runs={tmp_path}"]
    process = start(project, OURS, *words)
    while process.poll() is None and not list(tmp_path.glob("*/*/checkpoints/last.ckpt")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.count("stopping after this step") == errors.count("stopped by SIGINT") == 1
    assert "test/accuracy" in output and output.splitlines()[-1].startswith("run: ")
    assert gone(process.pid)


def test_torchrun_ends_too_and_says_so(project: Path, tmp_path: Path) -> None:
    code, _, errors = run(project, TORCHRUN, f"paths.runs={tmp_path}", *fault("raise"))
    assert code == 1 and errors.count("RuntimeError: boom") == 1
    assert summary(tmp_path)["reason"] == "process 1 of 2 failed: boom"


def test_a_mistake_in_the_data_is_said_once_and_leaves_no_folder(project: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    words = ["data=folder", f"data.root={empty}", f"paths.runs={tmp_path / 'runs'}"]
    code, _, errors = run(project, OURS, *words)
    assert (code, errors.count("there are no images")) == (2, 1), errors
    assert "terminate called" not in errors and "Traceback" not in errors
    assert not (tmp_path / "runs").exists()


def test_processes_that_would_log_different_values_are_refused(project: Path, tmp_path: Path) -> None:
    code, _, errors = run(project, OURS, f"paths.runs={tmp_path}", *fault("keys"))
    assert code == 2 and len(errors.splitlines()) == 1, errors
    assert "processes log different values: process 0 of 0, process 1 of 1;" in errors
    assert summary(tmp_path)["exit_code"] == 2


def test_processes_with_different_data_are_refused(project: Path, tmp_path: Path) -> None:
    words = ["data._target_=datamodules.uneven.Uneven", f"paths.runs={tmp_path / 'runs'}"]
    code, _, errors = run(project, OURS, *words)
    assert code == 2 and len(errors.splitlines()) == 1 and "the data differs between machines" in errors, errors
    # Process 0 may be on its way already.
    assert all(json.loads(one.read_text())["exit_code"] == 2 for one in tmp_path.glob("runs/*/*/summary.json"))


def test_srun_and_machines_that_know_each_other(project: Path, tmp_path: Path) -> None:
    port = str(20000 + os.getpid() % 10000)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    tasks = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_JOB_ID": "77"}
    pairs = {
        "slurm": [
            start(project, ["train.py"], f"paths.runs={tmp_path / 'slurm'}", **tasks, **meeting, **rank)
            for rank in ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, {"SLURM_PROCID": "1", "SLURM_LOCALID": "1"})
        ],
        "nodes": [
            start(
                project,
                ["train.py", "trainer.num_nodes=2"],
                f"paths.runs={tmp_path / 'nodes'}",
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(int(port) + 1),
                NODE_RANK=node,
            )
            for node in ("0", "1")
        ],
    }
    for name, pair in pairs.items():
        ends = [(*process.communicate(timeout=300), process.returncode) for process in pair]
        assert [code for *_, code in ends] == [0, 0], ends
        assert [bool(output) for output, *_ in ends] == [True, False], "the second process is silent"
        assert summary(tmp_path / name)["world_size"] == 2
    (slurm,) = (tmp_path / "slurm").glob("*/*")
    (nodes,) = (tmp_path / "nodes").glob("*/*")
    assert slurm.name == "slurm-77"
    assert differences(final_state(slurm), final_state(nodes)) == []


def test_from_python_and_in_a_grid(project: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        metrics = train([*SMALL, "trainer.devices=2", f"paths.runs={tmp_path / name}"])
        assert 0 < metrics["val/accuracy"] <= 1
        assert summary(tmp_path / name)["world_size"] == 2
    assert not set(TORCHRUN_VARIABLES) & set(os.environ), "the next run is not taken for one of several processes"
    assert not torch.distributed.is_initialized()
    code, output, errors = run(project, [*TORCHRUN, "-m"], "seed=0,1", f"paths.runs={tmp_path / 'grid'}")
    assert code == 0, errors
    assert output.count("run: ") == 2 and "job 2/2: " in output
    assert len(list((tmp_path / "grid").glob("*/*/summary.json"))) == 2
