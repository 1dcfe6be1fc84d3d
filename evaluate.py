"""Score checkpoints: `python evaluate.py run=RUN`, an ensemble of them, several views, other data, robustness.

`python evaluate.py --help` lists the keys.
"""

import sys
from typing import TYPE_CHECKING, Any

from settings.commands.evaluate import COMMAND, Evaluation, compose_jobs, data_config
from settings.commands.launch import launch

if TYPE_CHECKING:
    from engine.scoring_processes import Processes
    from settings.schema.run_config import RunConfig


def evaluate(*overrides: str) -> dict[str, float]:
    """Do as `python evaluate.py OVERRIDES` does; return the metrics, as `test/accuracy` and the like.

    Raises:
        UserError: a mistake in the overrides, or runs or data that are not there.
    """
    return run(compose_jobs(overrides, multirun=False)[0])


def run(job: Evaluation) -> dict[str, float]:
    """The runs -> what their task is scored by."""
    from engine.scored_runs import load_members, scores_classes
    from engine.scoring_processes import joined

    with joined() as processes:
        members = load_members(job.checkpoints, processes.device(job.device))
        if job.thresholds == "tuned":
            members[0].run.thresholds()  # refused before the data are read
        config = data_config(members[0].run.checkpoint["config"], job.data)
        return (score_classes if scores_classes(members) else score_task)(job, config, members, processes)


def score_classes(job: Evaluation, config: "RunConfig", members: Any, processes: "Processes") -> dict[str, float]:
    """Images -> probabilities of each member -> their average -> scores -> files."""
    from datamodules.scoring import scored_images
    from engine.class_scoring import score, write_scores
    from engine.robustness import measure_robustness
    from engine.scored_runs import channels, check_members, data_of
    from engine.scoring_processes import LARGEST_BATCH

    data = data_of(config, other=job.other_data)
    images = scored_images(
        data, job.split, known=members[0].run.class_names, channels=channels(members), skip=job.unknown == "skip"
    )
    described = check_members(job, images, members, config, data.fingerprint())
    work: Any = {
        "batch_size": job.batch_size or config.data.batch_size or LARGEST_BATCH,
        "device": processes.device(job.device),
        "processes": processes,
    }
    found = score(job, members, images, **work)
    robustness = measure_robustness(job, members, images, **work)
    if processes.rank:
        return {}
    return write_scores(job, config, data, images, members, described=described, found=found, robustness=robustness)


def score_task(job: Evaluation, config: "RunConfig", members: Any, processes: "Processes") -> dict[str, float]:
    """Images -> outputs of all members and views -> the task's own metrics -> files."""
    from datamodules.scoring import take_split
    from engine.scored_runs import check_members, data_of
    from engine.scoring_processes import LARGEST_BATCH
    from engine.task_evaluation import evaluate_members, refuse_what_classes_have

    refuse_what_classes_have(job, members)
    first = members[0].run
    data = data_of(
        config,
        other=job.other_data,
        preprocessing=first.preprocessing,
        batch_size=processes.shared(job.batch_size or config.data.batch_size or LARGEST_BATCH),
        test_views=job.views,
    )
    images, facts = take_split(data, job.split, known=first.class_names, skip=job.unknown == "skip")
    facts["members"] = check_members(job, images, members, config, data.fingerprint())
    return evaluate_members(job, config, data, members, processes, facts=facts)


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=COMMAND.format_help))
