"""Write an enlarged image folder: `python augment.py data=digits augment=standard copies=5 output=enlarged_digits`.

`python augment.py --help` lists its keys. Everything that `train.py` takes is taken here, too.
"""

import shlex
import sys
from pathlib import Path

from settings.commands.augment import COMMAND, Enlargement, compose_jobs
from settings.commands.launch import launch


def augment(*overrides: str) -> Path:
    """Do as `python augment.py OVERRIDES` does; return the folder.

    Raises:
        UserError: a mistake in the overrides, data that is not there, or a folder that cannot be written.
    """
    (job,) = compose_jobs(overrides, multirun=False)
    return run(job)


def run(job: Enlargement) -> Path:
    """Write the folder and say how to train on it."""
    from datamodules.enlarge import write_enlarged
    from engine.data_and_task import build_data

    data, preprocessing = build_data(job.config)
    counts = write_enlarged(data, job.output, copies=job.copies, ending=job.format)
    print(", ".join(f"{split} {count}" for split, count in counts.items()), "images")
    channels = f" data.channels={preprocessing.channels}" if preprocessing.channels != 3 else ""
    print(
        f"to train on it: python train.py data=csv data.root={shlex.quote(str(job.output / 'manifest.csv'))}{channels}"
    )
    print(f"folder: {job.output}", flush=True)
    return job.output


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=COMMAND.format_help))
