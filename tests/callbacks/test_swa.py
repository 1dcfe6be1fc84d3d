"""Stochastic weight averaging: the mean of the weights, scored and saved, the same bits after a stop anywhere."""

import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.signals import Stopped
from callbacks.swa import StochasticWeightAveraging
from models.tasks.classification import Classification
from settings.errors import UserError
from train import train

STEPS = 7  # 240 images in batches of 32
RUN = [
    *("data=digits", "data.per_class=24", "data.batch_size=32", "augment=none", "model=cnn", "model.widths=[6,6]"),
    *("trainer.max_epochs=4", "callbacks=none", "test=false", "optimizer=sgd", "scheduler=cosine"),
    "callbacks.swa._target_=lightning.pytorch.callbacks.StochasticWeightAveraging",
    *("callbacks.swa.swa_lrs=0.02", "callbacks.swa.swa_epoch_start=2", "callbacks.swa.annealing_epochs=2"),
]


def checkpoint(runs: Path, name: str, file: str = "last.ckpt") -> dict[str, Any]:
    (path,) = runs.glob(f"*/{name}/checkpoints/{file}")
    return torch.load(path, weights_only=True)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without a stop."""
    runs = tmp_path_factory.mktemp("undisturbed")
    train([*RUN, f"paths.runs={runs}", "name=whole"])
    return runs


def test_the_average_of_the_weights_is_scored_and_saved(tmp_path, monkeypatch, capsys) -> None:
    seen: list[tuple[int, dict[str, torch.Tensor]]] = []
    original = Classification.on_train_epoch_start

    def note(self: Any) -> None:
        seen.append((self.current_epoch, {k: v.detach().clone() for k, v in self.named_parameters()}))
        original(self)

    monkeypatch.setattr(Classification, "on_train_epoch_start", note)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train([*RUN, f"paths.runs={tmp_path}", "name=whole"])
    said = capsys.readouterr().out
    assert said.count("one epoch more than trainer.max_epochs=4") == 1 and "best.ckpt may hold the raw weights" in said
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3, 4]
    end = checkpoint(tmp_path, "whole")
    for name, last in seen[-1][1].items():
        mean = torch.stack([weights[name] for epoch, weights in seen if 1 <= epoch <= 3]).double().mean(dim=0)
        assert torch.allclose(last.double(), mean, atol=1e-6)
        assert torch.equal(end["state_dict"][name], last)  # the additional epoch steps nowhere
    assert end["global_step"] == 4 * STEPS + 1
    counts = [value for name, value in end["state_dict"].items() if name.endswith("num_batches_tracked")]
    assert counts and all(int(count) == STEPS for count in counts)  # statistics of the average alone


def test_without_batch_norm_too_the_average_is_in_a_checkpoint(tmp_path) -> None:
    train([*RUN, "model=mlp", "~model.widths", f"paths.runs={tmp_path}", "name=plain"])
    end = checkpoint(tmp_path, "plain")
    (state,) = (state for key, state in end["callbacks"].items() if key.startswith("StochasticWeightAveraging"))
    assert state["n_averaged"] == 3
    assert all(torch.equal(end["state_dict"][name], value) for name, value in state["average_model_state"].items())


@pytest.mark.parametrize(
    "batch", [STEPS + 3, 2 * STEPS, 4 * STEPS, 4 * STEPS + 2], ids=["mid-epoch", "epoch-end", "last", "additional"]
)
def test_a_stop_anywhere_ends_with_the_same_bits(batch, undisturbed, tmp_path, monkeypatch) -> None:
    original, seen = Classification.training_step, 0

    def step(self: Any, *arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == batch:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    monkeypatch.setattr(Classification, "training_step", step)
    with pytest.raises(Stopped):
        train([*RUN, f"paths.runs={tmp_path}", "name=again"])
    monkeypatch.setattr(Classification, "training_step", original)
    train([*RUN, f"paths.runs={tmp_path}", "name=again", "resume=auto"])
    for file in ("last.ckpt", "best.ckpt"):
        one, other = checkpoint(undisturbed, "whole", file), checkpoint(tmp_path, "again", file)
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
            assert same(one[key], other[key]), (file, key)
        kept = ("StochasticWeightAveraging", "BestCheckpoint")
        states = [{k: v for k, v in end["callbacks"].items() if k.startswith(kept)} for end in (one, other)]
        assert same(*states), file


def test_another_number_of_epochs_is_another_average(undisturbed) -> None:
    with pytest.raises(UserError, match="the average of this run ends after 4 epochs"):
        (folder,) = undisturbed.glob("*/whole")
        train([f"resume={folder}", "trainer.max_epochs=6", "scheduler.restart=true"])


def test_frozen_batch_norms_keep_their_statistics() -> None:
    net = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2))
    for norm in net:
        norm.running_mean.fill_(3.0)
    net[0].eval()
    StochasticWeightAveraging(swa_lrs=0.1).reset_batch_norm_and_save_state(net)  # type: ignore[arg-type]
    assert net[0].running_mean.tolist() == [3, 3] and net[0].momentum == 0.1
    assert net[1].running_mean.tolist() == [0, 0] and net[1].momentum is None
