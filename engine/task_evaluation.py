"""The evaluation of a task by its own metrics: metrics.json, predictions.csv and a page, for any task."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.tested_images import CollectTested
from engine.data_and_task import build_task
from engine.launcher import process_arguments
from engine.process_group import Members
from engine.run_folder import RunRecord, results_folder
from engine.scored_runs import Member, output_folder
from engine.scoring_processes import Processes
from engine.trainer import quieten
from models.analysis.class_scores import ClassCounts, class_scores, confusion, label_scores, shares
from models.averaged import Averaged
from models.checkpoint import read_checkpoint
from models.normalisation import Renormalise
from reports import charts, links, page
from reports.figures import record_figure
from reports.report import title
from reports.terminal import print_table
from settings.commands.evaluate import Evaluation
from settings.errors import UserError
from settings.run_names import checkpoint_of
from settings.schema.names import task_value
from settings.world import launched

if TYPE_CHECKING:
    from models.tasks.base import Task
    from settings.schema.run_config import RunConfig

SHOWN = 24
"""Hardest images of the page."""
SILENCE = 1800
"""Seconds after which a process that does not answer is given up."""


class Rows(Callback):
    """A row of predictions.csv for each image, in the words of the task, with the image's place in the split."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self._seen = 0

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Take in one batch; what only fills it up is left out."""
        task = cast("Task", pl_module)
        losses = task.image_losses(outputs, batch).double().tolist()
        for place in task.real(batch[1]).nonzero()[:, 0].tolist():
            index = (self._seen + place) * trainer.world_size + trainer.global_rank
            self.rows.append((index, {**task.row(outputs, batch, place), "loss": losses[place]}))
        self._seen += len(losses)


def evaluate_task(
    folder: Path,
    task: "Task",
    data: Any,
    *,
    split: str,
    arguments: Mapping[str, Any],
    processes: Processes,
    facts: Mapping[str, Any],
    command: Sequence[str],
) -> dict[str, float]:
    """Test the task on a split of the data, write everything, and return the metrics as `test/miou` and the like.

    Args:
        folder: of the results.
        task: with the weights that are scored.
        data: the data module, set up; its test split is what is scored.
        split: what that is called.
        arguments: plain trainer arguments that decide how batches are computed.
        processes: this process among all; the first one writes.
        facts: plain values about data and runs, for metrics.json.
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
    gathered = processes.gather(rows.rows)
    if processes.rank:
        return {}
    table = sorted((row for part in gathered for row in part), key=lambda one: one[0])
    record = results_folder(folder)
    counts = task.confusion() if tested.labels is None else confusion(*tested.labels, len(task.class_names))
    per_class = [] if counts is None else class_scores(counts, task.class_names)
    of_labels = task.label_counts()
    if of_labels is not None:
        per_class = label_scores(of_labels, task.class_names)
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
                    {**vars(one), **more} for one, more in zip(per_class, _ious(counts, len(per_class)), strict=True)
                ],
                "confusion": None if counts is None else counts.tolist(),
                **facts,
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n",
    )
    columns = list(table[0][1]) if table else []
    lines = [(keys[index], *(one[name] for name in columns)) for index, one in table]
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


def _ious(counts: Tensor | None, classes: int) -> list[dict[str, float | None]]:
    """Intersection over union of each class, None where it does not occur; nothing where there are labels alone."""
    if counts is None:
        return [{} for _ in range(classes)]
    found = ClassCounts.of(counts.double())
    return [{"iou": one} for one in shares(found.iou, found.claimed + found.support)]


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


ONLY_CLASSES = ("corruptions", "attack", "curves", "shortcut", "bootstrap", "hardest", "seed")
"""Keys that count images whose one class is right."""


def evaluate_members(
    job: Evaluation,
    config: "RunConfig",
    data: Any,
    members: Sequence[Member],
    processes: Processes,
    *,
    facts: Mapping[str, Any],
) -> dict[str, float]:
    """Score runs of a task by its own metrics: one checkpoint, or the mean prediction of several.

    Args:
        job: what was asked for.
        config: of the first run, with the data that are scored.
        data: the data module; its test split is what is scored, in the first run's numbering of classes.
        members: the runs.
        processes: this process among all.
        facts: plain values about data and runs, for metrics.json.
    """
    config.model.weights, config.trainer.compile = "none", False  # the checkpoint has the weights
    known = members[0].run.class_names
    if job.other_data or tuple(data.class_names) != known:
        config.loss.class_weights = "none"  # they are for training, and counted on training images
    how = members[0].run.preprocessing
    task = build_task(config, data, how, class_names=known)
    task.load_state_dict(read_checkpoint(checkpoint_of(members[0].path))["state_dict"])
    if job.thresholds == "tuned":
        task.use_calibration(members[0].run.checkpoint["calibration"])
    if len(members) > 1:
        task.net = Averaged(
            [member.run.net for member in members],
            orders=[
                range(task.head) if task.head else [member.run.class_names.index(name) for name in known]
                for member in members
            ],
            inputs=[Renormalise(how, member.run.preprocessing) for member in members],
            activation=task.activation,
        )
    arguments = {**config.trainer.computing_arguments(), "devices": 1, "num_nodes": 1, "strategy": "auto"}
    arguments["accelerator"] = processes.device(job.device).type
    if (world := launched()) is not None and processes.world > 1:
        arguments |= {"devices": world.local_size, "num_nodes": world.nodes, "strategy": "ddp"}
        arguments = process_arguments(Members(world, timeout=SILENCE), arguments)
    return evaluate_task(
        output_folder(job, members),
        task,
        data,
        split=job.split,
        arguments=arguments,
        processes=processes,
        facts={
            "run": " + ".join(member.name for member in members),
            "task": members[0].run.checkpoint["task"],
            **({"thresholds": members[0].run.thresholds()} if job.thresholds == "tuned" else {}),
            "views": job.views,
            "data": {"name": config.data.name},
            "data_fingerprint": data.fingerprint(),
            "preprocessing": how.to_dict(),
            **facts,
        },
        command=job.command,
    )


def refuse_what_classes_have(job: Evaluation, members: Sequence[Member]) -> None:
    """Raise UserError for all that the task of these runs cannot be asked for, or cannot do together."""
    name = members[0].run.checkpoint["task"]
    typed = {word.partition("=")[0] for word in job.command}
    wrong = [f"{key}: not for task={name}; it counts images of one class" for key in ONLY_CLASSES if key in typed]
    if job.views not in (can := task_value(name, "views")):
        wrong.append(f"views={job.views}: not for task={name}, which has {', '.join(can)}")
    if job.thresholds == "tuned" and len(members) > 1:
        wrong.append("thresholds=tuned: they are a run's own, and an ensemble has none")
    first = members[0].run.preprocessing
    for member in members[1:]:
        own = member.run.preprocessing
        if (own.image_size, own.resize, own.channels) != (first.image_size, first.resize, first.channels):
            wrong.append(
                f"run: {member.name} reads images of {own.image_size} pixels and {own.channels} channels, and "
                f"{members[0].name} of {first.image_size} and {first.channels}: task={name} averages over the same"
            )
    if wrong:
        raise UserError(*wrong)
