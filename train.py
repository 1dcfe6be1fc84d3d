"""Train, test and record one run: `python train.py data=fashion_mnist model=resnet20 optimizer.lr=0.1`.

`python train.py --help` lists what can be chosen; `train([...])` is the same from Python.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.launch import launch, without_collector
from settings.stop import leave_at_a_signal

# Threads that spin long at every barrier stall each other once another program wants a core; short spins cost nothing
# measurable on an idle machine. GOMP_SPINCOUNT is libgomp's; a value of the user's own is kept.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

if TYPE_CHECKING:
    from engine.process_group import Members
    from models.tasks.base import Task
    from settings.preprocessing import Preprocessing
    from settings.schema.run_config import RunConfig


def train(overrides: Sequence[str] = ()) -> dict[str, float]:
    """Train as `python train.py OVERRIDES` does; return the metrics of the best checkpoint.

    Raises:
        UserError: a mistake in the overrides, or data or weights that are not there.
    """
    from settings.reading.compose import compose

    return run(compose(overrides))


def run(config: "RunConfig") -> dict[str, float]:
    """One run, in as many processes as `trainer.devices` and `trainer.num_nodes` say."""
    with without_collector():
        from engine.launcher import together

    return together(config, fit_and_test)


def fit_and_test(config: "RunConfig", members: "Members") -> dict[str, float]:
    """What each process does: data -> net and task -> trainer -> fit -> test of the best checkpoint -> record."""
    from engine.memory import keep_freed_memory
    from engine.resume import find_start
    from engine.run_folder import recording
    from engine.test_best import fit, score_best
    from engine.trainer import build_loggers, build_training

    keep_freed_memory()
    with members.one_first():
        data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    members.same("the data", task.card["data_fingerprint"])
    start = find_start(
        run_folder=config.run_folder,
        parent=config.parent,
        resume=config.resume,
        limits=config.trainer.lightning_arguments(),
        card=task.card,
        allowed=config.resume_allow,
        members=members,
    )
    folder = Path(members.decided(lambda: str(run_folder(config))))
    with recording(folder, facts(config, task), members) as record:
        choose_precision(config, data, task, members=members, say=record.say)
        start.hand_down(record)
        keep_inputs(record, config, data, task)
        show_stages(record, config, task)
        training = build_training(
            record=record,
            arguments=config.trainer.lightning_arguments(),
            callbacks=config.callbacks.to_plain(),
            monitor=config.watched[0],
            monitor_mode=config.watched[1],
            loggers=build_loggers(
                record=record, logger=config.logger.to_plain(), config=config.to_plain(), step=start.step
            ),
            find_unused=task.needs_unused_parameters,
        )
        stopped = fit(training, task, data, start)
        metrics = score_best(
            record, training, task, data, test=config.test, arguments=config.trainer.computing_arguments()
        )
        if stopped:
            raise stopped
    return metrics


def build_data(config: "RunConfig", **feeding: Any) -> tuple[Any, "Preprocessing"]:
    """The data module that `data._target_` names, ready to train for the net of the configuration.

    `feeding` replaces single arguments of `configure`, such as `batch_size`.
    """
    from models.build import net_input
    from settings.preprocessing import choose

    data, model = load_data(config), config.model
    preprocessing = choose(
        net_input(name=model.name, source=model.source, weights=model.weights),
        image_size=config.data.image_size,
        native_size=data.image_size,
        channels=model.in_channels or data.channels,
        mean=data.mean,
        std=data.std,
        said=config.data.image_preparation(),
    )
    arguments = {**config.data.feeding_arguments(), **feeding}
    data.configure(seed=config.seed, preprocessing=preprocessing, recipe=config.augment, **arguments)
    data.setup("fit")
    data.try_recipe()
    return data, preprocessing


def load_data(config: "RunConfig", *, for_scoring: bool = False) -> Any:
    """The data module that `data._target_` names, on disk and ready to be asked for its classes.

    `for_scoring` takes data that are only scored, without training images.
    """
    from importlib import import_module

    from models.tasks import task_class
    from settings.runs import rooted

    module, _, name = config.data.target.rpartition(".")
    root = None if config.data.root is None else rooted(config.data.root)
    data = getattr(import_module(module), name)(root=root, data_dir=rooted(config.paths.data), **config.data.arguments)
    data.target = task_class(config.chosen_task).targets
    data.for_scoring = for_scoring
    data.prepare_data()
    return data


def build_task(config: "RunConfig", data: Any, preprocessing: "Preprocessing") -> "Task":
    """Introduce data and net to each other (classes, channels, image size); then the data's task."""
    import torch
    from lightning import seed_everything

    from models.build import build_net
    from models.fitting import fit_to_images
    from models.stages import stages
    from models.tasks import task_class
    from models.transfer import WITH_ADAPTERS, TransferPlan

    model, transfer = config.model, config.transfer
    net_arguments: dict[str, Any] = {
        "name": model.name,
        "source": model.source,
        "arguments": model.net_arguments(),
        "num_classes": task_class(config.chosen_task).head or len(data.class_names),
        "in_channels": preprocessing.channels,
        "image_size": preprocessing.image_size,
        "standardize": config.data.standardize,
    }
    if transfer.name in WITH_ADAPTERS:
        net_arguments["adapters"] = transfer.arguments
    seed_everything(config.seed, verbose=False)
    start = {"weights": model.weights, "weights_by_order": model.weights_by_order, "class_names": data.class_names}
    net = build_net(**net_arguments, **start)
    fit_to_images(net, data.training_images)
    if config.trainer.compile:
        net.compile()
    card = {
        "schema": 1,
        "task": config.chosen_task,
        "head": task_class(config.chosen_task).head,
        "model": net_arguments,
        "class_names": list(data.class_names),
        "preprocessing": preprocessing.to_dict(),
        "split_seed": config.data.split_seed,
        "data_fingerprint": data.fingerprint(),
        "config": config.to_plain(),
    }
    task = task_class(config.chosen_task)(
        net=net,
        class_names=data.class_names,
        optimizer=config.optimizer.to_plain(),
        scheduler=config.scheduler.to_plain(),
        plan=TransferPlan(
            mode=transfer.name,
            stages=tuple(stage.name for stage in stages(net)),
            epochs=config.trainer.max_epochs,
            arguments=transfer.arguments,
        ),
        monitor=config.monitor,
        monitor_mode=config.monitor_mode,
        channels_last=bool(config.trainer.channels_last),
        card=card,
        loss=loss_arguments(config, data),
        metrics=config.metrics,
    )
    if data.asks_net:
        size = preprocessing.image_size
        task.find_feature_map(torch.zeros(2, preprocessing.channels, size, size))
    return task


def choose_precision(
    config: "RunConfig",
    data: Any,
    task: "Task",
    *,
    members: "Members | None" = None,
    say: Callable[[str], None] = print,
) -> None:
    """Put what is fastest here in place of `trainer.precision=auto`, in configuration, task and checkpoints."""
    if config.trainer.precision != "auto":
        return
    from engine.autotune import choose
    from engine.process_group import Members

    trainer = config.trainer
    images = config.data.batch_size // ((trainer.processes or 1) * trainer.accumulate_grad_batches)

    def look() -> tuple[str, bool, str]:
        return choose(task, data, images=images, accelerator=trainer.accelerator, channels_last=trainer.channels_last)

    trainer.precision, trainer.channels_last, line = (members or Members()).decided(look)
    task.keep_channels_last(trainer.channels_last)
    task.card["config"] = config.to_plain()
    say(line)


def loss_arguments(config: "RunConfig", data: Any) -> dict[str, Any]:
    """The section `loss`, with a number a class in place of the word for it."""
    from models.class_weights import choose_class_weights

    loss = config.loss.to_plain()
    if config.loss.class_weights != "none":
        loss["class_weights"] = choose_class_weights(config.loss.class_weights, data.class_counts())
    else:
        loss["class_weights"] = None
    return loss


def run_folder(config: "RunConfig") -> Any:
    """The folder of the run that goes on, or a new one."""
    from settings.runs import new_folder, rooted

    if config.run_folder is not None:
        return config.run_folder
    return new_folder(rooted(config.paths.runs), config.kind, config.name, reuse=config.resume == "auto")


def facts(config: "RunConfig", task: "Task") -> dict[str, Any]:
    """What the summary says from the first moment on."""
    from engine.run_folder import command_line

    parameters = list(task.net.parameters())
    return {
        "seed": config.seed,
        "command": command_line(config.command),
        "experiment": config.experiment,
        "monitor": config.monitor,
        "metric_modes": metric_modes(config, task),
        "parent": None if config.parent is None else str(config.parent),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": task.freezing.trainable_parameters,
        "world_size": config.trainer.processes,
        "data_fingerprint": task.card["data_fingerprint"],
    }


def metric_modes(config: "RunConfig", task: "Task") -> dict[str, str]:
    """Metric -> which end of it is good, for whatever shows or ranks them: the task's, and the monitor's."""
    from settings.schema.checks import logged

    known = {name.partition("/")[2]: mode for name, mode in logged(config).items() if mode is not None}
    return {**task.metrics, **known, config.watched[0].partition("/")[2]: config.watched[1]}


def keep_inputs(record: Any, config: "RunConfig", data: Any, task: "Task") -> None:
    """Write what repeats the run: its configuration, which image is in which split, and what the net starts from."""
    record.write("config.yaml", config.to_yaml())
    record.write_table("splits.csv", ("file", "class", "split"), data.split_table())
    if data.effective_preprocessing.settled:
        record.say(data.effective_preprocessing.settled)
    report: Any = task.net.weights_report
    if report:
        record.say(report.line())
        record.write_table("weights.csv", ("tensor", "shape", "from", "how"), report.rows())


def show_stages(record: Any, config: "RunConfig", task: "Task") -> None:
    """Say which stages train when and how fast, and keep it as stages.csv."""
    import logging

    from models.freezing import COLUMNS

    rates = {"lr": config.optimizer.lr, "weight_decay": config.optimizer.weight_decay}
    record.write_table("stages.csv", COLUMNS, task.freezing.rows(**rates))
    print(task.freezing.table(**rates), flush=True)
    warning = task.freezing.plan.warning()
    if warning and record.writes:
        logging.getLogger(__name__).warning("%s", warning)
        print(f"warning: {warning}", flush=True)


if __name__ == "__main__":
    leave_at_a_signal()
    sys.exit(launch(run, sys.argv[1:]))
