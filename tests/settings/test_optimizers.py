"""Optimisers and schedules by bare name: ours, torch's classes, timm's names, a forker's one file."""

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from settings.errors import UserError
from settings.reading.compose import compose, compose_jobs
from settings.schema import optimizers, schedules, signatures
from settings.schema.run_config import config_from_plain

ROOT = Path(__file__).parents[2]

OPTIMISER = '''
"""Steps of one size, whatever the gradient's size (Riedmiller and Braun 1993)."""

from typing import Annotated

import torch


class Signs(torch.optim.Optimizer):
    """Adds the sign of the gradient and of the weight."""

    @torch.no_grad()
    def step(self, closure=None):
        """Take one step."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in (one for one in group["params"] if one.grad is not None):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(weight.grad.sign(), alpha=-group["lr"] * group["share"])
        return loss


def signs(
    groups, *, lr: float = 0.02, weight_decay: float = 0.0, share: Annotated[float, "0 < x <= 1"] = 0.5
) -> torch.optim.Optimizer:
    """The optimiser over our groups."""
    return Signs(groups, {"lr": lr, "weight_decay": weight_decay, "share": share})
'''
SCHEDULE = '''
"""A power of what is left of the training."""

from typing import Annotated


def polynomial(progress: float, *, power: Annotated[float, "x > 0"] = 1.0) -> float:
    """(1 - progress) to `power`."""
    return (1 - progress) ** power
'''

STOPPED_AND_RESUMED = """
import os, signal, sys
from callbacks.signals import Stopped
from models.tasks.classification import Classification
from train import train

original, seen = Classification.training_step, []
def step(self, *arguments):
    seen.append(1)
    if len(seen) == 30:  # in the second epoch of 20 steps
        os.kill(os.getpid(), signal.SIGTERM)
    return original(self, *arguments)

train([*sys.argv[1:], "name=whole"])
Classification.training_step = step
try:
    train([*sys.argv[1:], "name=cut", "resume=auto"])
except Stopped:
    train([*sys.argv[1:], "name=cut", "resume=auto"])
    print("resumed")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the project with an optimiser and a schedule more, one file each."""
    for folder in ("settings", "configs", "models", "datamodules", "callbacks", "engine", "reports"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", tmp_path)
    (tmp_path / "models/optimizers/signs.py").write_text(OPTIMISER)
    (tmp_path / "models/schedules/polynomial.py").write_text(SCHEDULE)
    monkeypatch.setattr(signatures, "ROOT", tmp_path)
    signatures._adapter.cache_clear()
    yield tmp_path
    signatures._adapter.cache_clear()


def refused(*line: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        compose(line)
    return list(caught.value.messages)


# --- what is there


def test_torchs_classes_are_those_of_torch_optim() -> None:
    import torch

    theirs = {
        name
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    }
    found = optimizers.torch_classes()
    assert set(found) == theirs
    for name, place in found.items():
        assert getattr(importlib.import_module(place.rpartition(".")[0]), name) is getattr(torch.optim, name)


def test_timms_names_and_their_classes_are_those_it_registers() -> None:
    from timm import optim

    found = optimizers.timm_names()
    assert set(found) == set(optim.list_optimizers())
    for name, place in found.items():
        cls = optim.get_optimizer_info(name).opt_class
        assert place == (cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__name__}"), name


def test_arguments_and_defaults_of_library_classes_are_those_of_their_constructors() -> None:
    import inspect

    import torch
    from timm import optim

    for name in [*optimizers.torch_classes(), *optimizers.timm_names()]:
        found = optimizers.find(name)
        assert found is not None
        if found.target.split(".")[0] not in ("torch", "timm"):
            continue
        cls = getattr(torch.optim, name) if found.source == "torch" else optim.get_optimizer_class(name, False)
        theirs = dict(inspect.signature(cls).parameters)
        if found.source != "own":
            assert optimizers.arguments(name) == [key for key in theirs if key != "params"]
        for key, value in signatures.defaults(found.target).items():
            default = theirs[key].default
            assert value == (list(default) if isinstance(default, tuple) else default), (name, key)


def test_ours_come_before_torchs_before_timms_and_names_are_matched_exactly() -> None:
    found = {name: optimizers.find(name) for name in ("sgd", "SGD", "NAdam", "nadam", "lion", "Lion", "muon", "Muon")}
    assert {name: one and one.source for name, one in found.items()} == {
        **{"sgd": "own", "SGD": "torch", "NAdam": "torch", "nadam": "timm"},
        **{"lion": "timm", "Lion": None, "muon": "timm", "Muon": "torch"},
    }


def test_every_file_of_ours_is_found_and_a_yaml_of_its_name_is_its_own() -> None:
    for own, target, group in (
        (optimizers.own(), optimizers.target, "optimizer"),
        (schedules.own(), schedules.target, "scheduler"),
    ):
        for name in own:
            place = target(name)
            assert place is not None and signatures.parameters(place) is not None
            file = ROOT / "configs" / group / f"{name}.yaml"
            assert not file.is_file() or yaml.safe_load(file.read_text())["name"] == name


# --- composition


def test_a_bare_name_brings_the_rate_and_the_decay_of_its_signature() -> None:
    config = compose(["optimizer=NAdam", "optimizer.betas=[0.9,0.99]", "optimizer.eps=1e-7"])
    assert config.to_plain()["optimizer"] == {
        **{"name": "NAdam", "lr": 0.002, "weight_decay": 0.0},
        **{"betas": [0.9, 0.99], "eps": 1e-7},
    }
    assert config_from_plain(yaml.safe_load(config.to_yaml())).to_plain() == config.to_plain()
    assert compose(["optimizer=lamb"]).optimizer.weight_decay == 0.01


def test_a_bare_name_in_a_grid_and_in_an_experiment(own_configs: Path) -> None:
    jobs = compose_jobs(["optimizer=sgd,NAdam,lion", "optimizer.lr=0.5"], True)
    assert [(job.optimizer.name, job.optimizer.lr) for job in jobs] == [("sgd", 0.5), ("NAdam", 0.5), ("lion", 0.5)]
    assert [job.optimizer.model_extra for job in jobs[1:]] == [{}, {}]
    (own_configs / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /optimizer: NAdam\n  - override /model: resnet34\n"
        "optimizer:\n  lr: 1e-3\n  momentum_decay: 1e-2\n"
    )
    config = compose(["experiment=mine"])
    assert config.to_plain()["optimizer"] == {"name": "NAdam", "lr": 0.001, "weight_decay": 0.0, "momentum_decay": 0.01}
    assert (config.model.name, config.model.source) == ("resnet34", "torchvision")
    assert compose(["experiment=mine", "optimizer=lion", "~optimizer.momentum_decay"]).optimizer.name == "lion"
    (own_configs / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /optimizer: NAdm\noptimizer:\n  lr: 0\n"
    )
    said = refused("experiment=mine")
    assert any("experiment/mine.yaml: unknown optimizer 'NAdm'; nearest: NAdam" in one for one in said)
    assert any("mine.yaml:5: optimizer.lr=0: must be more than 0" in one for one in said)


def test_a_file_of_its_own_may_name_a_librarys_optimiser_and_leave_the_rate_to_it(own_configs: Path) -> None:
    (own_configs / "optimizer" / "mine.yaml").write_text("name: lion\ncaution: true\n")
    assert compose(["optimizer=mine"]).to_plain()["optimizer"] == {
        **{"name": "lion", "lr": 0.0001, "weight_decay": 0.0, "caution": True}
    }
    (own_configs / "optimizer" / "mine.yaml").write_text("name: lino\nlr: 0.1\n")
    assert any(
        "optimizer/mine.yaml:1: optimizer.name: unknown optimizer 'lino'; nearest: lion" in one
        for one in refused("optimizer=mine")
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("optimizer=NAdm", ["unknown optimizer 'NAdm'; nearest: NAdam"]),
        ("optimizer=lionn", ["nearest: lion"]),
        ("optimizer=qqqqq", ["there is: ", "sgd", "torch.optim's classes", "timm's"]),
        ("scheduler=polynomal", ["unknown scheduler"]),
        ("optimizer=NAdam optimizer.betas=[0.9]", ["optimizer.betas=[0.9]", "2"]),
        ("optimizer=NAdam optimizer.betas=[0.9,x]", ["optimizer.betas", "a number"]),
        ("optimizer=NAdam optimizer.epss=1", ["unknown key optimizer.epss; nearest: optimizer.eps"]),
        ("optimizer=NAdam optimizer.params=1", ["unknown key optimizer.params"]),
        ("optimizer=NAdam optimizer.decoupled_weight_decay=1", ["must be true or false"]),
        ("optimizer=lion optimizer.caution=maybe", ["optimizer.caution=maybe: must be true or false"]),
        ("optimizer=adamp optimizer.nesterov=3", ["optimizer.nesterov=3: must be true or false"]),
        ("optimizer=adamp optimizer.delta=x", ["optimizer.delta=x: must be a number"]),
        ("optimizer=SGD optimizer.nesterov=true", ["optimizer.nesterov=true", "momentum"]),
        ("optimizer=sgd optimizer.fused=true", ["unknown key optimizer.fused"]),
        ("optimizer=Rprop optimizer.weight_decay=0.1", ["optimizer.weight_decay=0.1: Rprop has no weight decay"]),
        ("optimizer=sgdp", ["optimizer.lr is needed"]),
        ("optimizer=LBFGS", ["optimizer=LBFGS cannot work here", "closure"]),
        ("optimizer=SparseAdam", ["sparse"]),
        ("optimizer=Muon", ["optimizer=muon"]),
        ("optimizer=adahessian", ["create_graph"]),
        ("optimizer=bnblion optimizer.lr=1e-3", ["bitsandbytes, which is not installed"]),
        ("optimizer=fusedadam optimizer.lr=1e-3", ["apex, which is not installed"]),
        (
            "optimizer=lion optimizer.lr=0 optimizer.betas=3 scheduler=step scheduler.gamma=2",
            ["lr=0", "betas=3", "gamma=2"],
        ),
    ],
)
def test_mistakes_are_named_with_the_nearest(line: str, words: list[str]) -> None:
    said = "\n".join(refused(*line.split()))
    assert all(word in said for word in words), said


def test_a_name_is_checked_without_torch_or_timm() -> None:
    code = "from settings.reading.compose import compose; compose(['optimizer=lion', 'scheduler=cosine']); "
    code += "import sys; assert not {'torch', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# --- a forker's own


def test_a_forkers_optimiser_and_schedule_are_one_file_each(project: Path) -> None:
    config = compose(["optimizer=signs", "scheduler=polynomial", "scheduler.power=2"])
    assert config.to_plain()["optimizer"] == {"name": "signs", "lr": 0.02, "weight_decay": 0.0}
    assert config.to_plain()["scheduler"]["power"] == 2.0
    assert schedules.follows_length("polynomial") and not schedules.follows_length("step")
    assert any("power=0: must be more than 0" in one for one in refused("scheduler=polynomial", "scheduler.power=0"))
    assert any("nearest: signs" in one for one in refused("optimizer=sings"))
    said = refused("optimizer=signs", "optimizer.share=2", "optimizer.shar=1")
    assert any("share=2: must be more than 0 and at most 1" in one for one in said)
    assert any("nearest: optimizer.share" in one for one in said)


def test_a_run_with_both_follows_the_closed_form_and_resumes_exactly(project: Path) -> None:
    import torch

    line = [
        *("model=softmax", "trainer.max_epochs=3", "data.test_images=300", "callbacks.report=null"),
        *("optimizer=signs", "optimizer.share=0.25", "scheduler=polynomial", "scheduler.power=2"),
        *(f"paths.runs={project / 'runs'}", "callbacks.learning_rate.every_n_steps=1"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_AND_RESUMED, *line], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.strip().endswith("resumed"), done.stderr
    whole, cut = (project / "runs" / "digits-softmax" / name for name in ("whole", "cut"))
    stored = yaml.safe_load((whole / "config.yaml").read_text())
    assert stored["optimizer"] == {"name": "signs", "lr": 0.02, "weight_decay": 0.0, "share": 0.25}
    assert json.loads((whole / "summary.json").read_text())["metrics"]["test/accuracy"] > 0.7
    ends = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (whole, cut)]
    assert ends[0]["global_step"] == ends[1]["global_step"] > 40
    for key, value in ends[0]["state_dict"].items():
        assert torch.equal(value, ends[1]["state_dict"][key]), key
    assert ends[0]["lr_schedulers"] == ends[1]["lr_schedulers"]
    for folder in (whole, cut):
        rows = [row.split(",") for row in (folder / "metrics.csv").read_text().splitlines()]
        column = rows[0].index("lr")
        found = [float(row[column]) for row in rows[1:] if row[column]]
        steps = ends[0]["global_step"]
        assert found == pytest.approx([0.02 * (1 - step / steps) ** 2 for step in range(steps)])
