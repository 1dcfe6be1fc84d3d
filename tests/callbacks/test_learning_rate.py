import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger
from torch.utils.data import DataLoader, TensorDataset

from callbacks.learning_rate import LearningRateMonitor
from models.optim import Schedule, rate

OWN = {"peak_fraction": 0.3, "start_fraction": 0.04, "final_fraction": 0.0001}


class Memory(Logger):
    name, version = "memory", "0"

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def log_hyperparams(self, *args, **kwargs):
        pass


class Line(LightningModule):
    """A straight line; notes the rate that the optimiser really uses in each of its steps."""

    def __init__(self, total_steps, steps_per_epoch):
        super().__init__()
        self.layer, self.used = torch.nn.Linear(2, 1), []
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        self.used.append(optimizer.param_groups[-1]["lr"])
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = Schedule(
            optimizer,
            name="one_cycle",
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            **OWN,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_records_the_rate_of_the_steps_that_were_made(tmp_path, accumulate):
    logger, per_epoch = Memory(), 6 // accumulate
    task = Line(total_steps=4 * per_epoch, steps_per_epoch=per_epoch)
    trainer = Trainer(
        max_epochs=4,
        log_every_n_steps=1,
        accelerator="cpu",
        logger=logger,
        callbacks=[LearningRateMonitor(every_n_steps=5)],
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, DataLoader(TensorDataset(torch.ones(24, 2)), batch_size=4))
    assert len(task.used) == trainer.global_step == 4 * per_epoch
    due = [s for s in range(1, len(task.used) + 1) if s == 1 or s % 5 == 0 or s % per_epoch == 0]
    rows = [(step, row["lr"]) for step, row in logger.rows if "lr" in row]
    assert rows == [(step, task.used[step - 1]) for step in due]
    closed = [0.1 * rate("one_cycle", s - 1, total_steps=4 * per_epoch, steps_per_epoch=per_epoch, **OWN) for s in due]
    assert [lr for _, lr in rows] == closed


def test_zero_steps_is_refused():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        LearningRateMonitor(every_n_steps=0)
