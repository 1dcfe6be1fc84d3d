"""Look before training: `python explore.py do=lr data=fashion_mnist model=resnet20`.

`python explore.py --help` lists what there is to look at. Everything that `train.py` takes is taken here, too.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from settings.commands.explore import Exploration, compose_jobs, format_help
from settings.commands.launch import launch


def explore(*overrides: str) -> list[Path]:
    """Do as `python explore.py OVERRIDES` does; return the files.

    Raises:
        UserError: a mistake in the overrides, or data that is not there.
    """
    return [run(job) for job in compose_jobs(overrides, multirun=False)]


def run(job: Exploration) -> Path:
    """Look at the topic of the job; return the file that was written. Random states are left as they were."""
    from lightning.pytorch.utilities.seed import isolate_rng

    with isolate_rng():
        looks()[job.do](job)
    return job.output


def looks() -> dict[str, Callable[[Exploration], None]]:
    """What each topic of `settings/commands/topics.py` does."""
    from datamodules.overview import overview, sample
    from engine.looks import augment, batch_size, data, layers, lr, nets

    return {
        "augment": augment.look,
        "lr": lr.look,
        "batch_size": batch_size.look,
        "data": partial(data.look, overview=overview, sample=sample),
        "nets": nets.look,
        "layers": layers.look,
    }


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=format_help))
