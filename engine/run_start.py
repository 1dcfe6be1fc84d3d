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
