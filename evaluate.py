"""Score checkpoints: `python evaluate.py run=RUN`, an ensemble of them, several views, other data, robustness.

`python evaluate.py --help` lists the keys.
"""

import sys
from typing import Any

from settings.commands.evaluate import COMMAND, Evaluation, compose_jobs, data_config
from settings.commands.launch import launch


def evaluate(*overrides: str) -> dict[str, float]:
    """Do as `python evaluate.py OVERRIDES` does; return the metrics, as `test/accuracy` and the like.

    Raises:
        UserError: a mistake in the overrides, or runs or data that are not there.
    """
    return run(compose_jobs(overrides, multirun=False)[0])


def run(job: Evaluation) -> dict[str, float]:
    """Members -> images -> probabilities of each -> their average -> scores -> files."""
    from datamodules.scoring import scored_images
    from engine.class_scoring import score, write_scores
    from engine.prediction import LARGEST_BATCH
    from engine.robustness import measure_robustness
    from engine.scored_runs import channels, check_members, data_of, load_members, scores_classes
    from engine.scoring_processes import joined
    from engine.task_evaluation import evaluate_other

    with joined() as processes:
        device = processes.device(job.device)
        members = load_members(job.checkpoints, device)
        if job.thresholds == "tuned":
            members[0].run.thresholds()  # refused before the data are read
        if not scores_classes(members):
            return evaluate_other(job, members, processes)
        config = data_config(members[0].run.checkpoint["config"], job.data)
        data = data_of(config, other=job.other_data)
        images = scored_images(
            data, job.split, known=members[0].run.class_names, channels=channels(members), skip=job.unknown == "skip"
        )
        described = check_members(job, images, members, config, data.fingerprint())
        size = job.batch_size or config.data.batch_size or LARGEST_BATCH
        work: Any = {"batch_size": size, "device": device, "processes": processes}
        found = score(job, members, images, **work)
        robustness = measure_robustness(job, members, images, **work)
        if processes.rank:
            return {}
        return write_scores(job, config, data, images, members, described=described, found=found, robustness=robustness)


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=COMMAND.format_help))
