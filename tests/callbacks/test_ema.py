"""The running average against its closed form, in Lightning's own loop."""

import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from callbacks.ema import RunningAverage

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


@pytest.mark.parametrize(("every", "start"), [(1, 0), (2, 0), (1, 3)])
def test_is_the_weighted_mean_of_the_weights_and_keeps_what_is_frozen(tmp_path, every, start):
    torch.manual_seed(0)
    task = Counter()
    frozen = task.frozen.detach().clone()
    average = RunningAverage(decay=DECAY, every_n_steps=every, start_step=start)
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[average], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(task, DataLoader(TensorDataset(torch.zeros(8, 1)), batch_size=1))
    weights = [step + 1.0 for step in range(16) if step >= start and step % every == 0]
    expected = weights[0]
    for weight in weights[1:]:
        expected = DECAY * expected + (1 - DECAY) * weight
    assert task.weight.item() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(task.frozen, frozen) and task.count == 10_001
