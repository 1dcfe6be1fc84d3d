"""What a run found: the metrics of its best checkpoint, measured in a trainer that never trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import LightningDataModule, LightningModule, Trainer

from callbacks.bad_files import BadFiles
from callbacks.signals import HoldSignals, Stopped
from callbacks.tested_images import CollectTested
from engine.launcher import process_arguments
from engine.resume import Start
from engine.run_folder import RunRecord
from engine.step_overhead import keep_steps_lean
from engine.trainer import Training
from models.analysis.class_scores import confusion
from models.checkpoint import read_checkpoint
from settings.errors import UserError
from settings.runs import has_checkpoint

if TYPE_CHECKING:
    from models.tasks.base import Task


def fit(training: Training, task: LightningModule, data: LightningDataModule, start: Start) -> Stopped | None:
    """Train to the end; a stop by Ctrl-C is handed back, so that what was learnt is still tested.

    Raises:
        Stopped: a scheduler wants its machine back now, or nothing was learnt yet.
    """
    keep_steps_lean(training.trainer, task)
    try:
        training.trainer.fit(task, datamodule=data, ckpt_path=start.checkpoint, weights_only=True)
    except Stopped as stop:
        if not stop.by_keyboard or not has_checkpoint(Path(training.trainer.default_root_dir)):
            raise
        return stop
    return None


def score_best(
    record: RunRecord, training: Training, task: "Task", data: Any, *, test: bool, arguments: dict[str, Any]
) -> dict[str, float]:
    """Load the best checkpoint, test it once, and write the run's summary.

    Lightning's own `test(ckpt_path="best")` after a fit with averaged weights scores the raw ones; a fresh trainer
    without callbacks scores what the file holds.

    Args:
        record: the open run folder.
        training: the trainer that fitted, with its findings.
        task: the task; its weights are replaced by the best checkpoint's.
        data: the data module.
        test: whether to look at the test images.
        arguments: plain trainer arguments that decide how batches are computed (accelerator, precision, ...).
    """
    best = record.checkpoints / "best.ckpt"
    if not best.is_file():  # no validation: the last state is the only one there is
        best = record.checkpoints / "last.ckpt"
    if not best.is_file():
        raise UserError(f"{record.folder}: stopped before the first checkpoint; there is nothing to test")
    metrics = dict(training.best.metrics)
    report, tested = training.report, None
    if test and "test" not in data.splits:
        print("no test: there are no test images; the metrics are those of validation", flush=True)
    elif test:
        stored = read_checkpoint(best)
        task.load_state_dict(stored["state_dict"])
        tested = CollectTested(
            hardest=report.hardest if report else 0,
            mean=task.card["preprocessing"]["mean"],
            std=task.card["preprocessing"]["std"],
        )
        tester = Trainer(
            **process_arguments(record.members, arguments),
            callbacks=[tested, HoldSignals(record.signals), BadFiles(record), training.enough],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        tester.test(task, datamodule=data, verbose=False)
        found = {key: value for key, value in task.epoch_metrics.items() if key.startswith("test/")}
        metrics.update(found)
        for logger in training.trainer.loggers:
            logger.log_metrics(found, step=training.trainer.global_step)
        if len(training.trainer.loggers) > 1 and tested.labels is not None:
            from callbacks.loggers.wandb_logger import log_confusion

            counts = confusion(*tested.labels, len(task.class_names))
            log_confusion(training.trainer.loggers, counts, task.class_names, step=training.trainer.global_step)
        first = f"test/{next(iter(task.metrics))}"
        interval = task.interval(metrics, tested.count)  # fewer than there are under trainer.limit_test_batches
        if interval is not None:
            record.update(**{f"{first}_interval": list(interval), f"{first}_interval_method": task.interval_method})
        around = (
            "" if interval is None else f"95 % {task.interval_method} interval {interval[0]:.4f} to {interval[1]:.4f}, "
        )
        epoch = stored["epoch"] if training.best.epoch is None else training.best.epoch
        print(
            f"{first} {metrics[first]:.4f} ({around}{tested.count} images) of epoch {epoch + 1}",
            flush=True,
        )
    trainer = training.trainer
    epochs: Any = trainer.fit_loop.epoch_progress.current  # `current_epoch` lags where max_steps ends the training
    record.update(
        metrics=metrics,
        best_epoch=training.best.epoch,
        epochs=epochs.processed,
        steps=trainer.global_step,
        train_seconds=training.throughput.seconds,
        train_samples_per_second=training.throughput.samples_per_second,
    )
    if report and trainer.is_global_zero:
        report.write(record, task, data, tested)
    for logger in trainer.loggers:
        logger.finalize("success")
    if len(trainer.loggers) > 1:
        from callbacks.loggers.wandb_logger import finish

        finish(trainer.loggers)
    return metrics
