"""See where a trained net looks: `python explain.py run=RUN`, on any net, with no layer to name.

`python explain.py --help` lists the keys; `explain("run=RUN")` is the same from Python.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from settings.commands.explain import COMMAND, Explanation, compose_jobs
from settings.commands.launch import launch
from settings.errors import UserError

if TYPE_CHECKING:
    from engine.explained_images import Candidates
    from models.load import LoadedRun


def explain(*overrides: str) -> Path:
    """Do as `python explain.py OVERRIDES` does; return the page. Random states are left as they were.

    Raises:
        UserError: a mistake in the overrides, no such run or images, or nothing that the net allows.
    """
    return run(compose_jobs(overrides, multirun=False)[0])


def run(job: Explanation) -> Path:
    """Run -> images -> what is explained of each -> pictures, numbers and their page."""
    from lightning.pytorch.utilities.seed import isolate_rng

    from engine.explained_images import choose
    from engine.run_folder import results_folder
    from engine.scoring_processes import Processes
    from models import load_run
    from reports.explanation.page import write_explanations
    from settings.run_names import find_run, run_of

    path = find_run(job.run, job.runs)
    with isolate_rng():
        loaded = load_run(path)
        loaded.net.to(Processes().device(job.device))
        subject = choose(job, loaded, gather(job, loaded))
        record = results_folder(job.output or run_of(path) / "explanations")
        return write_explanations(record, subject, job, report=run_of(path) / "report.html")


def gather(job: Explanation, loaded: "LoadedRun") -> "Candidates":
    """The images that the user names, as files or as test images; else the run's test images.

    Raises:
        UserError: there are no such, or none can be read.
    """
    from datamodules.sources.named import find_images
    from datamodules.unlabelled import UnlabelledImages
    from engine.explained_images import read_files, test_images

    if not job.images:
        return test_images(loaded)
    try:
        found = find_images(job.images)
    except UserError as no_file:
        try:
            return test_images(loaded, [word.strip() for word in job.images.split(",")])
        except UserError:
            raise no_file from None
    return read_files(UnlabelledImages.of(found, loaded.preprocessing))


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=COMMAND.format_help))
