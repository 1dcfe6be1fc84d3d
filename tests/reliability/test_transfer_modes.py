"""Each mode on own, torchvision and timm nets under each schedule, in real runs that are stopped and resumed.

Frozen stages keep their bytes, batch norm's statistics included; the others move, in just the epochs that the plan
names; and a run that was stopped ends with the bits of one that was not.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from callbacks.signals import Stopped
from models import load_run
from settings.errors import UserError
from settings.schema import names
from tests.reliability import transfer_cells
from tests.reliability.test_exact_resume import assert_same_end, last, stop_at
from tests.reliability.transfer_cells import CELLS, NETS, SCHEDULES, STEPS, overrides, watched
from train import train

ROOT = Path(__file__).resolve().parents[2]
__all__ = ["stop_at"]  # a fixture

# Each mode that differs once in the default suite, with nets and schedules in turn.
FEW = [
    ("head_only", "timm", "one_cycle"),
    ("partial", "torchvision", "step"),
    ("gradual", "own", "plateau"),
    ("discriminative", "own", "one_cycle"),
    ("lora", "timm", "cosine"),
]


@pytest.fixture(autouse=True)
def known_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "library_nets", names.library_nets)  # both are put back afterwards
    monkeypatch.setitem(torchvision.models._api.BUILTIN_MODELS, "vit_cell", transfer_cells.vit_cell)
    transfer_cells.register_vit_cell()


def trained_in_two_parts(cell: tuple[str, str, str], runs: Path, stop_at: Any) -> None:
    """Hold one cell's run against its plan, then against the same run stopped and resumed."""
    words = [*overrides(*cell), f"paths.runs={runs}"]
    watch = watched(lambda: train([*words, "name=whole"]))
    ever = watch.check()
    at_the_end = CELLS.index(cell) % 5 == 0  # of the second epoch; the other cells stop in its middle
    stop_at(2 * STEPS if at_the_end else STEPS + 2)
    with pytest.raises(Stopped):
        train([*words, "name=cut", "resume=auto"])
    train([*words, "name=cut", "resume=auto"])
    assert_same_end(runs, "whole", "cut")
    (folder,) = runs.glob("*/whole")
    sizes = {name: value.numel() for name, value in watch.seen[0].items() if name in watch.owner}
    parameters = {key for stage in watch.plan.stages for key in sizes if watch.owner[key] == stage}
    summary = json.loads((folder / "summary.json").read_text())
    buffers = (".running_mean", ".running_var", "num_batches_tracked", ".scale")
    of_stages = {key for key in parameters if not key.endswith(buffers)}
    assert summary["parameters"] == sum(sizes[key] for key in of_stages)
    assert summary["trainable_parameters"] == sum(sizes[key] for key in of_stages if watch.owner[key] in ever)


@pytest.mark.parametrize("cell", FEW, ids="-".join)
def test_a_cell_of_the_mode(cell: tuple[str, str, str], tmp_path: Path, stop_at: Any) -> None:
    trained_in_two_parts(cell, tmp_path, stop_at)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in FEW], ids="-".join)
def test_every_other_cell(cell: tuple[str, str, str], tmp_path: Path, stop_at: Any) -> None:
    trained_in_two_parts(cell, tmp_path, stop_at)


def test_the_cells_are_all_there_are() -> None:
    from models.transfer import MODES

    assert len(CELLS) == (len(MODES) - 1) * len(NETS) * len(SCHEDULES) + 2 * len(SCHEDULES)


def test_averaged_weights_of_frozen_stages_are_the_weights(tmp_path: Path) -> None:
    words = [*overrides("gradual", "own", "cosine"), "callbacks.ema.decay=0.9", f"paths.runs={tmp_path}"]
    watch = watched(lambda: train([*words, "transfer.head_epochs=2", "name=ema"]))
    stored = last(tmp_path, "ema")
    never = [name for name, stage in watch.owner.items() if not watch.plan.peak[stage]]
    assert never
    for name, value in watch.seen[0].items():
        assert torch.equal(stored["state_dict"][f"net.{name}"], value) == (name in never), name


def test_learning_rates_are_recorded_by_stage_and_frozen_ones_are_zero(tmp_path: Path) -> None:
    train([*overrides("gradual", "own", "cosine"), "transfer.decay=0.5", *LR, f"paths.runs={tmp_path}", "name=a"])
    (folder,) = tmp_path.glob("*/a")
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["lr"]]
    assert {key for key in rows[0] if key.startswith("lr")} == {"lr", "lr/block1", "lr/block2", "lr/dense1", "lr/head"}
    for row in rows:
        epoch = (int(row["step"]) - 1) // STEPS
        for distance, stage in enumerate(("head", "dense1", "block2", "block1")):
            expected = float(row["lr"]) * 0.5**distance if distance <= epoch else 0.0
            assert float(row[f"lr/{stage}"]) == pytest.approx(expected), (row["step"], stage)
    with (folder / "stages.csv").open(newline="") as file:
        stages = {row["stage"]: row for row in csv.DictReader(file)}
    assert [row["epochs"] for row in stages.values()] == ["4", "3-4", "2-4", "1-4"]
    assert [float(row["learning_rate"]) for row in stages.values()] == [0.00125, 0.0025, 0.005, 0.01]
    assert {float(row["weight_decay"]) for row in stages.values()} == {0.1}


LR = ["callbacks.learning_rate.every_n_steps=1"]


def test_a_run_with_adapters_is_loaded_merged_and_starts_others(tmp_path: Path) -> None:
    words = overrides("lora", "timm", "one_cycle")
    watch = watched(lambda: train([*words, f"paths.runs={tmp_path}", "name=low"]))
    (folder,) = tmp_path.glob("*/low")
    run = load_run(folder / "checkpoints" / "last.ckpt")
    assert run.checkpoint["model"]["adapters"] == {
        "rank": 2, "alpha": 16.0, "dropout": 0.2, "targets": ["qkv", "proj"]
    }  # fmt: skip
    assert not any("parametrizations" in name for name in run.net.state_dict())
    moved = "blocks.0.attn.qkv.weight"
    key = "blocks.0.attn.qkv.parametrizations.weight"
    end = watch.seen[4]
    assert torch.equal(end[f"{key}.original"], watch.seen[0][f"{key}.original"])
    expected = end[f"{key}.original"] + 8.0 * (end[f"{key}.0.up"] @ end[f"{key}.0.down"])
    assert torch.equal(run.net.state_dict()[moved], expected)
    assert not torch.equal(expected, end[f"{key}.original"])
    words = [*overrides("head_only", "timm", "cosine"), "model=test_vit", f"model.weights={folder}"]
    watch = watched(lambda: train([*words, f"paths.runs={tmp_path}", "name=next"]))
    best = load_run(folder).net.state_dict()
    assert torch.equal(watch.seen[0][moved], best[moved])


def test_mistakes_end_before_there_is_a_run_folder(tmp_path: Path) -> None:
    def refused(*words: str) -> str:
        with pytest.raises(UserError) as error:
            train([*SMALL_OWN, "transfer.allow_random=true", *words, f"paths.runs={tmp_path}"])
        assert not list(tmp_path.iterdir())
        return str(error.value)

    said = refused("transfer=partial", "transfer.stages=[blok2]")
    assert "unknown stage 'blok2'; nearest: block2" in said and "the net has block1, block2, dense1, head" in said
    assert "trains all 4 stages" in refused("transfer=partial", "transfer.stages=4")
    assert "CNN has none; take a vision transformer" in refused("transfer=lora")


SMALL_OWN = [*transfer_cells.SMALL, *NETS["own"]]


def test_another_mode_cannot_take_up_an_optimiser(tmp_path: Path) -> None:
    words = [*SMALL_OWN, "trainer.max_epochs=1", f"paths.runs={tmp_path}", "name=a"]
    train(words)
    changed = ["transfer=head_only", "transfer.allow_random=true", "resume_allow=[transfer]"]
    with pytest.raises(UserError, match=r"transfer=head_only has parameter groups .*block1.*model\.weights=RUN"):
        train([*words, "resume=auto", "trainer.max_epochs=2", "scheduler.restart=true", *changed])


@pytest.mark.slow
def test_two_processes_freeze_alike(tmp_path: Path) -> None:
    """Six cells under two gloo ranks: the ranks end equal, frozen stages keep their bytes, the others move."""
    words = ["-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "tests.reliability.transfer_pair"]
    done = subprocess.run(
        [sys.executable, *words, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(first) == 6
    for cell, found in first.items():
        assert found["trained"] == second[cell]["trained"]
        assert found["parameters"].keys() == second[cell]["parameters"].keys()
        for name, value in found["parameters"].items():
            assert torch.equal(value, second[cell]["parameters"][name]), (cell, name)
