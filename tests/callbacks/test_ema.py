"""The running average against its closed form, in Lightning's own loop."""

from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from callbacks.ema import RunningAverage
from train import train

DECAY = 0.7


class Counter(LightningModule):
    """Its weight is the number of steps made; a frozen one and a count stand beside it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.frozen = torch.nn.Parameter(torch.rand(1000), requires_grad=False)
        self.register_buffer("count", torch.tensor(10_001))

    def training_step(self, batch, batch_idx):
        return -self.weight

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], lr=1.0)


@pytest.mark.parametrize("warm_up", [False, True])
@pytest.mark.parametrize(("every", "start"), [(1, 0), (2, 0), (1, 3)])
def test_is_the_weighted_mean_of_the_weights_and_keeps_what_is_frozen(tmp_path, every, start, warm_up):
    torch.manual_seed(0)
    task = Counter()
    frozen = task.frozen.detach().clone()
    average = RunningAverage(decay=DECAY, every_n_steps=every, start_step=start, warm_up=warm_up)
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[average], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(task, DataLoader(TensorDataset(torch.zeros(8, 1)), batch_size=1))
    weights = [step + 1.0 for step in range(16) if step >= max(start, every - 1) and step % every == 0]
    expected = weights[0]
    for made, weight in enumerate(weights[1:], start=1):
        decay = min(DECAY, (1 + made) / (10 + made)) if warm_up else DECAY
        expected = decay * expected + (1 - decay) * weight
    assert task.weight.item() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(task.frozen, frozen) and task.count == 10_001


RUN = [
    *(
        "model=mlp",
        "augment=none",
        "data.batch_size=32",
        "data.per_class=24",
        "trainer.max_epochs=6",
        "optimizer.lr=0.01",
    ),
    *("callbacks=none", "scheduler=constant"),
]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    stored = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert "averaging_state" not in stored
    return stored["state_dict"]


@pytest.mark.parametrize("late", ["start_step=1000", "every_n_steps=1000"])
def test_until_it_begins_the_weights_are_validated_saved_and_tested(late: str, tmp_path: Path, capsys) -> None:
    """Every number and weight of the run is that of the run without it; early stopping sees the same."""
    words = [*RUN, "callbacks.early_stopping.patience=2", f"paths.runs={tmp_path}"]
    plain = train([*words, "name=plain"])
    said = capsys.readouterr().out
    assert "average" not in said
    averaged = train([*words, "name=late", "callbacks.ema.decay=0.9", f"callbacks.ema.{late}"])
    said = capsys.readouterr().out
    assert "the average begins after step 1001, and the run has 42" in said
    assert averaged == plain and plain["val/accuracy"] > 0.8
    one, other = (weights(tmp_path / "digits-mlp" / name) for name in ("plain", "late"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_resume_before_it_begins_is_exact(tmp_path: Path) -> None:
    words = [*RUN, "callbacks.ema.decay=0.9", "callbacks.ema.start_step=10", f"paths.runs={tmp_path}"]
    train([*words, "name=whole"])
    train([*words, "name=part", "trainer.max_epochs=1"])
    train([f"resume={tmp_path / 'digits-mlp' / 'part'}", "trainer.max_epochs=6"])
    ends = [tmp_path / "digits-mlp" / name / "checkpoints" / "last.ckpt" for name in ("whole", "part")]
    whole, part = (torch.load(path, weights_only=True) for path in ends)
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(whole[key][name], part[key][name]) for name in whole[key])
    assert whole["averaging_state"]["n_averaged"] == part["averaging_state"]["n_averaged"] == 32


def test_the_default_decay_does_not_cost_a_short_run_its_result(tmp_path: Path) -> None:
    """Without a warm-up the average of 42 steps at 0.999 is mostly that of the first step."""
    words = [*RUN, "test=false", f"paths.runs={tmp_path}"]
    warm, cold = (train([*words, f"callbacks.ema.warm_up={given}"])["val/accuracy"] for given in ("true", "false"))
    assert warm > 0.85 and cold < 0.75
