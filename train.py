"""Train, test and record one run: `python train.py data=fashion_mnist model=resnet20 optimizer.lr=0.1`.

`python train.py --help` lists what can be chosen; `train([...])` is the same from Python.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from settings.commands.launch import launch, without_collector
from settings.stop import leave_at_a_signal

# Threads that spin long at every barrier stall each other once another program wants a core; short spins cost nothing
# measurable on an idle machine. GOMP_SPINCOUNT is libgomp's; a value of the user's own is kept.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

if TYPE_CHECKING:
    from engine.process_group import Members
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
    from engine.data_and_task import build_data, build_task, choose_precision
    from engine.loggers import build_loggers
    from engine.memory import keep_freed_memory
    from engine.resume import find_start
    from engine.run_folder import recording
    from engine.run_start import facts, keep_inputs, refuse_single_images, run_folder, say_few_steps, show_stages
    from engine.test_best import fit, score_best
    from engine.trainer import build_training

    keep_freed_memory()
    with members.one_first():
        data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    refuse_single_images(config, data, task)
    members.same("the data", task.card["data_fingerprint"])
    start = find_start(
        run_folder=config.run_folder,
        parent=config.parent,
        resume=config.resume,
        limits=config.trainer.lightning_arguments(),
        schedule=config.scheduler.name,
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
        say_few_steps(record, config, data)
        training = build_training(
            record=record,
            arguments=config.trainer.lightning_arguments(),
            callbacks=config.callbacks.to_plain(),
            monitor=config.watched[0],
            monitor_mode=config.watched[1],
            loggers=build_loggers(
                record=record, chosen=config.logger.chosen(), config=config.to_plain(), step=start.step
            ),
            find_unused=task.needs_unused_parameters,
            test=config.test,
            at_least_one=config.debug is not None,
        )
        stopped = fit(training, task, data, start)
        metrics = score_best(
            record, training, task, data, test=config.test, arguments=config.trainer.computing_arguments()
        )
        if stopped:
            raise stopped
    return metrics


if __name__ == "__main__":
    leave_at_a_signal()
    sys.exit(launch(run, sys.argv[1:]))
