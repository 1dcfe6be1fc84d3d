"""The lines that say what a run is before its first step, and what they are made of."""

import types

import pytest
import torch

from callbacks.run_header import RunHeader, device_name, nearest_path, steps
from train import train


def test_a_run_says_folder_data_device_and_steps_before_its_first_epoch(tmp_path, capsys):
    train(["model=softmax", "data.per_class=24", "data.batch_size=60", "trainer.max_epochs=2", "callbacks.report=null",
           "test=false", f"paths.runs={tmp_path}"])  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    (folder,) = tmp_path.glob("*/*")
    first = lines.index(f"folder    {folder}")
    epochs = [index for index, line in enumerate(lines) if line.startswith("epoch")]
    assert first + 4 == epochs[0], "the block stands right before the first epoch"
    assert lines[first + 1] == "data      digits: 240 train, 145 val, 359 test images, 10 classes"
    assert lines[first + 2] == f"device    {cpu()}, precision 32-true"
    assert lines[first + 3] == "training  2 epochs of 4 steps, batch size 60"


def cpu():
    return "CPU (1 thread)" if torch.get_num_threads() == 1 else f"CPU ({torch.get_num_threads()} threads)"


def trainer(**changed):
    strategy = types.SimpleNamespace(root_device=torch.device("cpu"))
    usual = {"max_epochs": -1, "max_steps": 30, "num_training_batches": 9, "accumulate_grad_batches": 2}
    return types.SimpleNamespace(**usual | {"strategy": strategy, "world_size": 1, "global_step": 0} | changed)


def test_limits_windows_processes_and_what_is_done_are_said():
    assert steps(trainer(), batch_size=8) == "5 steps an epoch, at most 30, batch size 8"
    assert steps(trainer(max_epochs=3, max_steps=-1, global_step=5), batch_size=8) == (
        "3 epochs of 5 steps, batch size 8, 5 steps done"
    )
    assert device_name(trainer(world_size=2)).startswith("2 processes on CPU")


def test_a_gpu_is_named_with_its_memory(monkeypatch):
    found = types.SimpleNamespace(name="NVIDIA H100", total_memory=85e9)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: found)
    strategy = types.SimpleNamespace(root_device=torch.device("cuda", 0))
    assert device_name(trainer(strategy=strategy)) == "NVIDIA H100 (85 GB)"


def test_a_path_below_here_is_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert nearest_path(tmp_path / "runs" / "a") == "runs/a" and nearest_path(tmp_path.parent) == str(tmp_path.parent)
    with pytest.raises(TypeError):
        RunHeader()
