"""Real runs of `python train.py`, killed at random moments and resumed, end with the undisturbed run's bits.

`test_chaos.py` has many more moments, in processes that are cheaper to start.
"""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]

CASES = {
    "momentum": [
        "model=cnn",
        "model.widths=[8,8]",
        "optimizer=sgd",
        "optimizer.lr=0.05",
        "scheduler=one_cycle",
        "callbacks.checkpoint.every_n_steps=7",
    ],
    "ema_accumulation": [
        "model=resnet20",
        "model.width=4",
        "callbacks.ema.decay=0.9",
        "trainer.accumulate_grad_batches=2",
        "scheduler=cosine",
        "callbacks.checkpoint.every_n_steps=5",
    ],
    "plateau": [
        "model=cnn",
        "model.widths=[8,8]",
        "optimizer=adam",
        "scheduler=plateau",
        "scheduler.patience=1",
        "scheduler.warmup_epochs=1.5",
    ],
}
COMMON = [
    "data=digits",
    "data.forbid=[]",
    "augment=light",
    "trainer.max_epochs=24",
    "data.batch_size=64",
    "test=false",
]


def start(runs: Path, name: str, overrides: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "train.py", *COMMON, *overrides, f"paths.runs={runs}", f"name={name}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def folder_of(runs: Path, name: str) -> Path:
    (found,) = runs.glob(f"*/{name}")
    return found


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    return output


def final_state(folder: Path) -> dict[str, Any]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
    kept = (
        "state_dict",
        "current_model_state",
        "averaging_state",
        "optimizer_states",
        "lr_schedulers",
        "global_step",
    )
    return {key: checkpoint[key] for key in kept if key in checkpoint}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Paths of the leaves that are not the same bits."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        return [line for key in one for line in differences(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list | tuple):
        assert len(one) == len(other), path
        return [
            line for i, pair in enumerate(zip(one, other, strict=True)) for line in differences(*pair, f"{path}/{i}")
        ]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [path]


def is_training(runs: Path, name: str, resumes: int) -> bool:
    """Whether this start of the run has begun (its start-up is over) and there is something to go on from."""
    summaries = list(runs.glob(f"*/{name}/summary.json"))
    started = summaries and json.loads(summaries[0].read_text()).get("resumes") == resumes
    return bool(started) and (summaries[0].parent / "checkpoints" / "last.ckpt").is_file()


def kill_at_random(
    process: subprocess.Popen[str], runs: Path, name: str, resumes: int, signum: int, rng: random.Random
) -> None:
    """Wait for the training, then a random while, then send the signal."""
    while process.poll() is None and not is_training(runs, name, resumes):
        time.sleep(0.02)
    time.sleep(rng.uniform(0.0, 1.0))
    process.send_signal(signum)
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    runs = tmp_path_factory.mktemp("undisturbed")
    processes = {name: start(runs, name, overrides) for name, overrides in CASES.items()}
    for process in processes.values():
        finish(process)
    return {name: final_state(folder_of(runs, name)) for name in CASES}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "signum"),
    [("momentum", signal.SIGKILL), ("ema_accumulation", signal.SIGTERM), ("plateau", signal.SIGKILL)],
    ids=["SIGKILL-momentum", "SIGTERM-ema_accumulation", "SIGKILL-plateau"],
)
def test_a_killed_run_ends_like_an_undisturbed_one(
    case: str, signum: signal.Signals, undisturbed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    rng = random.Random(f"{case} {signum}")
    overrides = [*CASES[case], "resume=auto"]
    kills = 0
    for resumes in range(2):
        process = start(tmp_path, "killed", overrides)
        kill_at_random(process, tmp_path, "killed", resumes, signum, rng)
        if process.returncode == 0:  # over before the signal came
            break
        kills += 1
        if signum == signal.SIGTERM:
            assert process.returncode == 143
            assert json.loads((folder_of(tmp_path, "killed") / "summary.json").read_text())["status"] == "interrupted"
    else:
        finish(start(tmp_path, "killed", overrides))
    assert kills, "the run was over before it could be killed"
    folder = folder_of(tmp_path, "killed")
    assert differences(undisturbed[case], final_state(folder)) == []
    steps = [line.split(",")[1] for line in (folder / "metrics.csv").read_text().splitlines()[1:]]
    assert len(steps) == len(set(steps)), "a step stands twice"
    assert json.loads((folder / "summary.json").read_text())["resumes"] >= 1


@pytest.mark.slow
def test_negative_control_other_randomness_after_the_kill_is_noticed(
    undisturbed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    rng = random.Random("control")
    process = start(tmp_path, "control", [*CASES["momentum"], "resume=auto"])
    kill_at_random(process, tmp_path, "control", 0, signal.SIGKILL, rng)
    assert process.returncode != 0
    finish(start(tmp_path, "control", [*CASES["momentum"], "resume=auto", "seed=1", "resume_allow=[seed]"]))
    assert differences(undisturbed["momentum"], final_state(folder_of(tmp_path, "control"))) != []


@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_once_tests_the_best_twice_leaves_at_once(presses: int, tmp_path: Path) -> None:
    process = start(tmp_path, "stopped", [*CASES["momentum"], "test=true", "trainer.max_epochs=400"])
    while process.poll() is None and not is_training(tmp_path, "stopped", 0):
        time.sleep(0.05)
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    found = json.loads((folder_of(tmp_path, "stopped") / "summary.json").read_text())
    assert (found["status"], found["exit_code"]) == ("interrupted", 130)
    assert "test/accuracy" in found["metrics"] or presses == 2
    assert f"run: {folder_of(tmp_path, 'stopped')}" in output.splitlines()
