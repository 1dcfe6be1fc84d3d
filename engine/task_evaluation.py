"""The evaluation of a task by its own metrics: metrics.json, predictions.csv and a page, for any task."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.tested_images import CollectTested
from engine.data_and_task import build_task, load_data
from engine.prediction import LARGEST_BATCH
from engine.run_folder import RunRecord, results_folder
from engine.scored_runs import Member, output_folder
from engine.trainer import quieten
from models.analysis.class_scores import class_scores, confusion, label_scores
from models.checkpoint import read_checkpoint
from reports import charts, links, page
from reports.figures import record_figure
from reports.report import title
from reports.terminal import print_table
from settings.commands.evaluate import Evaluation, data_config
from settings.errors import UserError
from settings.preprocessing import Preprocessing
from settings.run_names import checkpoint_of

if TYPE_CHECKING:
    from models.tasks.base import Task

SHOWN = 24
"""Hardest images of the page."""


class Rows(Callback):
    """A row of predictions.csv for each image, in the words of the task."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Take in one batch."""
        task = cast("Task", pl_module)
        losses = task.image_losses(outputs, batch).double().tolist()
        self.rows += [{**task.row(outputs, batch, index), "loss": loss} for index, loss in enumerate(losses)]


def evaluate_task(
    record: RunRecord,
    task: "Task",
    data: Any,
    *,
    split: str,
    arguments: Mapping[str, Any],
    facts: Mapping[str, Any],
    command: Sequence[str],
) -> dict[str, float]:
    """Test the task on a split of the data, write everything, and return the metrics as `test/miou` and the like.

    Args:
        record: the open folder of the results.
        task: with the weights that are scored.
        data: the data module, set up; its test split is what is scored.
        split: what that is called.
        arguments: plain trainer arguments that decide how batches are computed.
        facts: plain values about data and run, for metrics.json.
        command: the overrides as typed.
    """
    quieten()
    how = task.card["preprocessing"]
    tested, rows = CollectTested(hardest=SHOWN, mean=how["mean"], std=how["std"]), Rows()
    tester = Trainer(
        **arguments,
        callbacks=[tested, rows],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    tester.test(task, datamodule=data, verbose=False)
    found = {name.partition("/")[2]: value for name, value in task.epoch_metrics.items() if name.startswith("test/")}
    metrics = {f"{split}/{name}": value for name, value in found.items()}
    counts = task.confusion() if tested.labels is None else confusion(*tested.labels, len(task.class_names))
    per_class = [] if counts is None else class_scores(counts, task.class_names)
    of_labels = task.label_counts()
    if of_labels is not None:
        per_class = label_scores(*of_labels, task.class_names)
    keys = list(data.splits["test"].keys)
    record.write(
        "metrics.json",
        json.dumps(
            {
                "schema": 1,
                "split": split,
                "images": tested.count,
                "metrics": metrics,
                "per_class": [
                    {**vars(one), **({} if counts is None else {"iou": _iou(counts, index)})}
                    for index, one in enumerate(per_class)
                ],
                "confusion": None if counts is None else counts.tolist(),
                **facts,
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n",
    )
    columns = list(rows.rows[0]) if rows.rows else []
    lines = [(key, *(one[name] for name in columns)) for key, one in zip(keys, rows.rows, strict=True)]
    record.write_table("predictions.csv", ("path", *columns), lines)
    cards = [(title(name), f"{value:.4f}", f"{tested.count} images") for name, value in found.items()]
    record.write(
        "report.html",
        page.page(
            title=f"{facts['run']}: {split}",
            status="evaluation",
            lead=f"{tested.count} images · {facts['data']['name']} · {time.strftime('%Y-%m-%d %H:%M')}",
            figures=cards,
            links=links.of_run(record.folder, record.folder.parent.parent, but=record.folder / "report.html"),
            sections=[
                _classes(record, counts, task, per_class) if per_class else None,
                page.section("Hardest images", page.tiles(tested.hardest, keys), note=f"{task.shown_as}."),
                page.section("Repeat it", page.command(" ".join(["python", "evaluate.py", *command]))),
            ],
        ),
    )
    print_table(("metric", "value"), [(name, f"{value:.4f}") for name, value in metrics.items()])
    print(f"evaluation: {record.folder}", flush=True)
    return metrics


def _iou(counts: Tensor, index: int) -> float | None:
    """Intersection over union of a class; None where it does not occur."""
    union = int(counts[index].sum() + counts[:, index].sum() - counts[index, index])
    return int(counts[index, index]) / union if union else None


def _classes(record: RunRecord, counts: Tensor | None, task: "Task", per_class: Sequence[Any]) -> page.Section | None:
    if counts is None:
        return page.section("Class by class", page.class_table(per_class, of=task.counts_of))
    matrix = record_figure(record, "confusion_matrix", charts.confusion_matrix(counts, task.class_names))
    return page.section(
        "Class by class",
        page.pictures({"confusion matrix": matrix}),
        page.class_table(per_class, of=task.counts_of),
        page.confusions_table(counts, task.class_names, of=task.counts_of),
    )


def evaluate_other(job: Evaluation, members: Sequence[Member], processes: Any) -> dict[str, float]:
    """Score a run of another task by the task's own metrics.

    Raises:
        UserError: what only a classification can be asked for; or data that do not fit.
    """
    member = members[0]
    name = member.run.checkpoint["task"]
    asked = {
        "run": len(members) > 1,
        "views": job.views != "centre",
        **{key: bool(getattr(job, key)) for key in ("corruptions", "attack", "curves", "shortcut")},
        "torchrun": processes.world > 1,
    }
    if refused := [key for key, wanted in asked.items() if wanted]:
        raise UserError(f"{', '.join(refused)}: not for task={name}, whose single run is scored in one process")
    config = data_config(member.run.checkpoint["config"], job.data)
    config.model.weights, config.trainer.compile = "none", False  # the checkpoint has the weights
    data = load_data(config, for_scoring=job.other_data)
    if tuple(data.class_names) != tuple(member.run.class_names):
        raise UserError(f"the data have the classes {', '.join(data.class_names)}; the run knows others")
    preprocessing = Preprocessing.from_dict(member.run.checkpoint["preprocessing"])
    size = job.batch_size or config.data.batch_size or LARGEST_BATCH
    feeding = {**config.data.feeding_arguments(), "batch_size": size}
    data.configure(seed=config.seed, preprocessing=preprocessing, **feeding)
    data.setup()
    if job.split not in data.splits:
        raise UserError(f"split={job.split}: there are no such images; there is {', '.join(data.splits)}")
    task = build_task(config, data, preprocessing)
    task.load_state_dict(read_checkpoint(checkpoint_of(member.path))["state_dict"])
    if job.thresholds == "tuned":
        task.use_calibration(member.run.checkpoint["calibration"])
    data.splits["test"] = data.splits[job.split]
    arguments = {**config.trainer.computing_arguments(), "devices": 1, "num_nodes": 1, "strategy": "auto"}
    if job.device != "auto":
        arguments["accelerator"] = job.device
    return evaluate_task(
        results_folder(output_folder(job, members)),
        task,
        data,
        split=job.split,
        arguments=arguments,
        facts={
            "run": member.name,
            "task": name,
            **({"thresholds": member.run.thresholds()} if job.thresholds == "tuned" else {}),
            "data": {"name": config.data.name},
            "data_fingerprint": data.fingerprint(),
            "preprocessing": preprocessing.to_dict(),
        },
        command=job.command,
    )
