"""What a training loop costs a step over a bare one, with a net that computes nothing.

`python -m benchmarks.loop_overhead`. The net is one parameter. Ours is the whole default fit of `train.py`, data
module included: draws keyed by step, gather, normalise, metrics, checks for numbers, schedule, metrics.csv,
checkpoints. Beside it stand Lightning's `barebones` mode, and a loop in the documented style of
lightning-hydra-template: two torchmetrics and two `self.log` a step, progress bar, CSVLogger, ModelCheckpoint. Those
two and the bare loop are handed float32 batches that were made beforehand.
"""

import contextlib
import io
import statistics
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.measure import ROUNDS, Row, compared, interleaved, main, one_thread
from benchmarks.ours import loop_seconds
from datamodules.base import ImageDataModule
from datamodules.sources.arrays import ArraySource
from settings.reading.compose import compose

BATCH, SIDE, CLASSES = 4, 8, 10
OURS, BAREBONES, TEMPLATE = "train.py's fit", "Lightning barebones", "lightning-hydra-template's style"
Batch = tuple[Tensor, Tensor]


def run(*, rounds: int = ROUNDS, steps: int = 1000) -> list[Row]:
    """Compare the costs a step.

    Args:
        rounds: that count.
        steps: of each fit.
    """
    one_thread()
    images, targets = digits(steps * BATCH)
    batches = [
        (one.float() / 255, labels) for one, labels in zip(images.split(BATCH), targets.split(BATCH), strict=True)
    ]
    ways: dict[str, Callable[[], object]] = {
        "bare loop": partial(bare, batches),
        OURS: partial(ours, images, targets),
        BAREBONES: partial(barebones, batches),
        TEMPLATE: partial(template, batches),
    }
    times = interleaved(ways, rounds=rounds)
    costs = {
        name: [taken - base for taken, base in zip(times[name], times["bare loop"], strict=True)]
        for name in (OURS, BAREBONES, TEMPLATE)
    }
    rows = []
    for name, goal in ((OURS, 0.3), (BAREBONES, None)):
        each = {way: statistics.median(taken) / steps * 1e3 for way, taken in costs.items()}
        note = f"{each[name]:.2f} ms a step over the bare loop, theirs {each[TEMPLATE]:.2f}"
        what = f"cost of {name} over a bare loop, null model"
        rows.append(compared(what, costs, ours=name, theirs=TEMPLATE, goal=goal, lower_is_better=True, note=note))
    return rows


def digits(count: int) -> Batch:
    """Real digits of 8 x 8 pixels, uint8 ``(count, 1, 8, 8)``, over and over, and their labels."""
    from datamodules.digits import Digits

    source = Digits().sources()["train"]
    chosen = torch.arange(count) % len(source)
    return source[chosen]


class OneParameter(nn.Module):
    """Maps images to logits ``(B, 10)`` that are its one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Parameter(torch.zeros(1))

    def stages(self) -> list[tuple[str, list[str]]]:
        """One stage."""
        return [("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Logits, all alike."""
        return self.head.expand(len(images), CLASSES)


def bare(batches: Sequence[Batch]) -> None:
    """Train, and count what is right."""
    net = OneParameter()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.001, fused=True)
    right = torch.zeros((), dtype=torch.int64)
    for images, targets in batches:
        logits = net(images)
        loss = cross_entropy(logits, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        right += (logits.detach().argmax(dim=1) == targets).sum()
    right.item()


class Repeated(ImageDataModule):
    """Digits over and over, so that an epoch has the steps that are wanted; validated on one batch of them."""

    class_names = tuple(str(digit) for digit in range(CLASSES))
    channels, image_size = 1, SIDE
    mean, std = (0.3,), (0.37,)

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        super().__init__()
        self.arrays = {"train": (images, targets), "val": (images[:BATCH], targets[:BATCH])}

    def sources(self) -> dict[str, ArraySource]:
        """Wrap the arrays."""
        return {
            split: ArraySource(images, targets, [f"{split}/{number}" for number in range(len(images))])
            for split, (images, targets) in self.arrays.items()
        }


def ours(images: Tensor, targets: Tensor) -> float:
    """CPU seconds of the loop that `train.py` runs, with its default callbacks, over the net of one parameter."""
    from engine.loggers import build_loggers
    from engine.process_group import Members
    from engine.resume import Start
    from engine.run_folder import recording
    from engine.test_best import fit
    from engine.trainer import build_training
    from models.tasks.classification import Classification

    data = Repeated(images, targets)
    data.configure(batch_size=BATCH)
    data.setup()
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()), loop_seconds() as taken:
        config = compose(["data=digits", "trainer.max_epochs=1"])
        task = Classification(
            net=OneParameter(),
            class_names=data.class_names,
            optimizer=config.optimizer.to_plain(),
            scheduler=config.scheduler.to_plain(),
        )
        with recording(Path(scratch), {}, Members()) as record:
            training = build_training(
                record=record,
                arguments=config.trainer.lightning_arguments(),
                callbacks=config.callbacks.to_plain(),
                monitor=config.watched[0],
                monitor_mode=config.watched[1],
                loggers=build_loggers(
                    record=record, chosen=config.logger.chosen(), config=config.to_plain(), step=None
                ),
            )
            fit(training, task, data, Start())
    return taken[0]


class Plain(lightning.LightningModule):
    """The least that Lightning needs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = OneParameter()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        images, targets = batch
        return cross_entropy(self.net(images), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of all ways."""
        return torch.optim.AdamW(self.parameters(), lr=0.001, fused=True)


class TemplateStyle(Plain):
    """What lightning-hydra-template documents: torchmetrics called and logged in each step, shown on the bar."""

    def __init__(self) -> None:
        super().__init__()
        from torchmetrics import MaxMetric, MeanMetric
        from torchmetrics.classification import Accuracy

        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()
        self.train_acc = Accuracy(task="multiclass", num_classes=CLASSES)
        self.val_acc = Accuracy(task="multiclass", num_classes=CLASSES)
        self.val_acc_best = MaxMetric()

    def _step(self, batch: Batch, split: str) -> Tensor:
        images, targets = batch
        logits = self.net(images)
        loss = cross_entropy(logits, targets)
        for name, value in (("loss", (loss,)), ("acc", (logits.argmax(dim=1), targets))):
            metric = getattr(self, f"{split}_{name}")
            metric(*value)
            self.log(f"{split}/{name}", metric, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch, logged with the accuracy."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same for validation."""
        self._step(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Log the best accuracy so far."""
        self.val_acc_best(self.val_acc.compute())
        self.log("val/acc_best", self.val_acc_best.compute(), sync_dist=True, prog_bar=True)


def barebones(batches: Sequence[Batch]) -> float:
    """CPU seconds of Lightning's loop without callbacks, loggers and bars."""
    return fitted(Plain(), batches, barebones=True)


def template(batches: Sequence[Batch]) -> float:
    """CPU seconds of the loop in the template's style, with its default callbacks and a CSV logger."""
    from lightning.pytorch import callbacks
    from lightning.pytorch.loggers import CSVLogger

    with tempfile.TemporaryDirectory() as scratch:
        own = [
            callbacks.ModelCheckpoint(
                dirpath=Path(scratch) / "checkpoints", monitor="val/acc", mode="max", save_last=True
            ),
            callbacks.EarlyStopping(monitor="val/acc", mode="max", patience=100),
            callbacks.RichProgressBar(),
        ]
        return fitted(
            TemplateStyle(), batches, callbacks=own, logger=CSVLogger(scratch), enable_model_summary=False, val=True
        )


def fitted(task: Plain, batches: Sequence[Batch], *, val: bool = False, **arguments: Any) -> float:
    """CPU seconds of the loop of a trainer over ready batches."""
    from torch.utils.data import DataLoader

    def loader(part: Any) -> DataLoader:
        return DataLoader(part, batch_size=None, collate_fn=_as_it_is)  # type: ignore[arg-type]  # gets a batch, not a list

    with (
        loop_seconds() as taken,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")  # advice on workers
        trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", devices=1, num_sanity_val_steps=0, **arguments)
        trainer.fit(task, loader(batches), loader(batches[:1]) if val else None)
    return taken[0]


def _as_it_is(batch: Batch) -> Batch:
    return batch


if __name__ == "__main__":
    main("loop_overhead", run)
