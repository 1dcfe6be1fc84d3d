"""`trainer.precision=auto`: looking changes nothing, what is fastest is taken and kept, all processes do the same."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from torch.distributed import TCPStore

from engine import autotune as fastest
from engine.autotune import ways_to_compute
from engine.data_and_task import build_data, build_task, choose_precision
from engine.process_group import connect
from settings.errors import UserError
from settings.reading.compose import compose
from settings.world import World
from train import train

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
# Dropout and batch norm: both would show if looking left anything behind.
SMALL = ["model=cnn", "model.widths=[4,8]", "model.dropout=0.2", "data.per_class=16", "trainer.max_epochs=1"]
SLOW, QUICK = 2.0, 1.0


def built(*overrides: str):
    config = compose([*SMALL, *overrides])
    data, preprocessing = build_data(config)
    return config, data, build_task(config, data, preprocessing)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list:
    """Real steps with times from a list, the same way in all rounds the quickest; gives what was tried."""
    real, tried = fastest._timed_step, []

    def step(task, batch, dtype, device):
        real(task, batch, dtype, device)
        tried.append((task.channels_last, dtype))
        return QUICK if tried[-1] == (True, torch.bfloat16) else SLOW

    monkeypatch.setattr(fastest, "_timed_step", step)
    return tried


def test_looking_touches_nothing(timed):
    _, data, task = built()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    strides = [parameter.stride() for parameter in task.parameters()]
    random = torch.get_rng_state()
    best, *rest = ways_to_compute(task, data, images=32, device=CPU)
    assert (best.precision, best.channels_last, best.seconds) == ("bf16-mixed", True, QUICK)
    assert len(rest) == 3 and len(timed) == 8, "two steps of each way, 8 in all"
    assert timed[:4] == timed[:3:-1], "there and back"
    assert set(timed) == set(itertools.product((False, True), (None, torch.bfloat16)))
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert [parameter.stride() for parameter in task.parameters()] == strides
    assert all(parameter.grad is None for parameter in task.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert data.trainer is None and not task.channels_last and not task.sums


def test_time_is_taken_in_earnest():
    _, data, task = built()
    ways = ways_to_compute(task, data, images=32, device=CPU, channels_last=False)
    assert [way.channels_last for way in ways] == [False, False], "a layout that the user has named is kept"
    assert {way.precision for way in ways} == {"32-true", "bf16-mixed"}
    assert 0 < ways[0].seconds <= ways[1].seconds < 10
    accelerated = torch.device("mps")
    assert not fastest._has_bfloat16(accelerated)


def test_the_run_is_the_one_that_names_what_was_chosen_and_goes_on_as_such(timed, tmp_path: Path, capsys, monkeypatch):
    line = [*SMALL, f"paths.runs={tmp_path}", "callbacks.report=null"]
    metrics = train([*line, "name=chosen", "trainer.precision=auto"])
    assert "trainer.precision=bf16-mixed trainer.channels_last=true chosen in 8 steps" in capsys.readouterr().out
    chosen, named = (tmp_path / "digits-cnn" / name for name in ("chosen", "named"))
    assert "chosen in 8 steps" in (chosen / "train.log").read_text()
    assert metrics == train([*line, "name=named", "trainer.precision=bf16-mixed", "trainer.channels_last=true"])
    assert len(timed) == 8, "named is not looked for"
    configs = [yaml.safe_load((run / "config.yaml").read_text()) for run in (chosen, named)]
    assert configs[0]["trainer"] == configs[1]["trainer"]
    assert configs[0]["trainer"]["precision"] == "bf16-mixed" and configs[0]["trainer"]["channels_last"] is True
    one, other = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (chosen, named))
    assert one["lightbox"]["config"]["trainer"] == configs[0]["trainer"]
    weights = other["state_dict"]
    assert all(torch.equal(value, weights[name]) for name, value in one["state_dict"].items()), "bit for bit"
    assert one["state_dict"]["net.head.weight"].dtype == torch.float32

    monkeypatch.setattr(fastest, "ways_to_compute", lambda *args, **kwargs: pytest.fail("it was decided already"))
    again = [*line, "name=chosen", "resume=auto", "trainer.precision=auto"]
    train([*again, "trainer.max_epochs=2", "scheduler.restart=true"])
    kept = yaml.safe_load((chosen / "config.yaml").read_text())["trainer"]
    assert (kept["precision"], kept["channels_last"], kept["max_epochs"]) == ("bf16-mixed", True, 2)


def test_process_0_chooses_for_all(monkeypatch):
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, multi_tenant=True)
    place = {"local_size": 2, "node": 0, "nodes": 1, "address": "127.0.0.1", "port": server.port}
    worlds = [World(launcher="this run", rank=rank, size=2, local_rank=rank, **place) for rank in (0, 1)]
    monkeypatch.setattr(fastest, "choose", lambda task, *_, **how: task.would)

    class Task:
        def __init__(self, *would) -> None:
            self.would, self.card, self.channels_last = would, {}, None

        def keep_channels_last(self, channels_last: bool) -> None:
            self.channels_last = channels_last

    line = ["trainer.precision=auto", "trainer.devices=2", "trainer.accelerator=cpu"]
    configs = [compose(line), compose(line)]

    def of(world: World):
        config = configs[world.rank]
        task = Task("bf16-mixed", True, "mine") if world.rank == 0 else Task("32-true", False, "other")
        said = []
        choose_precision(config, None, task, members=connect(world, run=0, timeout=5), say=said.append)
        return config.trainer.precision, config.trainer.channels_last, task.channels_last, task.card["config"], said

    with ThreadPoolExecutor(2) as pool:
        first, second = [one.result(timeout=60) for one in [pool.submit(of, world) for world in worlds]]
    assert first == second
    assert first[:3] == ("bf16-mixed", True, True) and first[4] == ["mine"]
    assert first[3]["trainer"]["precision"] == "bf16-mixed"


@pytest.mark.slow
def test_two_processes_compute_alike(tmp_path: Path):
    words = [*SMALL, "trainer.precision=auto", "trainer.devices=2", "trainer.accelerator=cpu", f"paths.runs={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "train.py", *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("chosen in 8 steps") == 1
    (run,) = tmp_path.glob("*/*")
    trainer = yaml.safe_load((run / "config.yaml").read_text())["trainer"]
    assert trainer["precision"] in fastest.AUTOCAST and isinstance(trainer["channels_last"], bool)
    stored = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["lightbox"]["config"]["trainer"]
    assert stored == trainer


def test_words():
    assert compose([]).trainer.channels_last is False, "off unless asked for"
    auto = compose(["trainer.precision=auto"]).trainer
    assert (auto.precision, auto.channels_last) == ("auto", None)
    assert compose(["trainer.precision=auto", "trainer.channels_last=true"]).trainer.channels_last is True
    with pytest.raises(UserError, match=r"one of 32-true, .*, auto \(nearest: auto\)|one of auto, .*nearest: auto"):
        compose(["trainer.precision=autom"])
    with pytest.raises(UserError, match="compile=true: trainer"):
        compose(["trainer.precision=auto", "trainer.compile=true"])
