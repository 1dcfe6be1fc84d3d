"""What a run decides, keeps and says before its first step: its folder, the summary's first facts, what repeats it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.tasks.base import Task
    from settings.schema.run_config import RunConfig


def run_folder(config: "RunConfig") -> Any:
    """The folder of the run that goes on, or a new one."""
    from settings.runs import new_folder, rooted

    if config.run_folder is not None:
        return config.run_folder
    return new_folder(rooted(config.paths.runs), config.kind, config.name, resume=config.resume)


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
    record.write("config.yaml", config.without_consents().to_yaml())
    record.write_table("splits.csv", ("file", "class", "split"), data.split_table())
    if data.effective_preprocessing.settled:
        record.say(data.effective_preprocessing.settled)
    report: Any = task.net.weights_report
    if report:
        record.say(report.line())
        record.write_table("weights.csv", ("tensor", "shape", "from", "how"), report.rows())


def refuse_single_images(config: "RunConfig", data: Any, task: "Task") -> None:
    """Batch norm cannot learn from one value a channel, which a pass of one image leaves where pixels are pooled.

    Raises:
        UserError: a pass has one image, and the net wants two.
    """
    from models.batch_norm import wants_two_images
    from settings.errors import UserError

    processes, accumulation = config.trainer.processes or 1, config.trainer.accumulate_grad_batches
    images, batch = len(data.splits["train"]), data.batch_size
    whole = images >= batch
    if (batch // (processes * accumulation) if whole else images // processes) > 1:
        return
    how = data.effective_preprocessing
    if "train" in data.features or not wants_two_images(task, channels=how.channels, image_size=how.image_size):
        return
    parts = f"{processes} processes x {accumulation} accumulated batches"
    said = f"data.batch_size={batch} in {parts}" if whole else f"{images} training images in {processes} processes"
    raise UserError(
        f"{said} leave one image a pass, and {config.model.name} normalises over the batch (batch norm): it needs two; "
        + (f"take data.batch_size={2 * processes * accumulation} or more" if whole else "train with fewer processes")
    )


FEW_STEPS, ENOUGH_STEPS = 200, 1000
"""Below so many steps a run is told that it has few, and with how many epochs it would have enough."""


def say_few_steps(record: Any, config: "RunConfig", data: Any) -> None:
    """Say that there is little to learn by, and what to type: steps, batch and rate that fit the number of images."""
    images, trainer, limits = len(data.splits["train"]), config.trainer, config.trainer.lightning_arguments()
    steps = max(1, images // data.batch_size)
    planned = [count for count in (steps * limits["max_epochs"], limits["max_steps"]) if count > 0]
    if config.debug or not planned or min(planned) >= FEW_STEPS:
        return
    from models.analysis.advice import default_batch_size, first_settings

    parts = (trainer.processes or 1) * trainer.accumulate_grad_batches
    better = min(data.batch_size, default_batch_size(images, parts=parts))
    rate = float(first_settings(data.class_counts(), config.transfer.name, config.optimizer.name)["optimizer.lr"])
    epochs = max(trainer.max_epochs, -(-ENOUGH_STEPS // max(1, images // better)))
    words = [f"data.batch_size={better}"] * (better < data.batch_size)
    words += [f"trainer.max_epochs={epochs}"] * (epochs > trainer.max_epochs)
    words += [f"optimizer.lr={rate:g}"] * (config.optimizer.lr > 2 * rate)
    record.say(
        f"few steps: {images} training images in batches of {min(images, data.batch_size)} are {steps} an epoch, "
        f"{min(planned)} in all; to type: {' '.join(words) or 'transfer=head_only with a pretrained net'}"
    )


def show_stages(record: Any, config: "RunConfig", task: "Task") -> None:
    """Say which stages train when and how fast, and keep it as stages.csv."""
    import logging

    from models.freezing import COLUMNS
    from reports.terminal import print_table

    rates = {"lr": config.optimizer.lr, "weight_decay": config.optimizer.weight_decay}
    stages = list(task.freezing.rows(**rates))
    record.write_table("stages.csv", COLUMNS, stages)
    record.say(task.freezing.said())
    if record.writes:
        rows = [(*row[:3], *(f"{rate:.4g}" if rate else "-" for rate in row[3:5]), row[5]) for row in stages]
        print_table([name.replace("_", " ") for name in COLUMNS], rows)
    warning = task.freezing.plan.warning()
    if warning and record.writes:
        logging.getLogger(__name__).warning("%s", warning)
        print(f"warning: {warning}", flush=True)
