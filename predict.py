"""Name what is on images: `python predict.py run=RUN images=photos output=predictions.csv`.

`python predict.py --help` lists the keys; `predict("run=RUN", "images=photos")` is the same from Python.
"""

import io
import os
import sys
from typing import TYPE_CHECKING, Any

from settings.commands.launch import launch
from settings.commands.predict import COMMAND, PredictJob, compose_jobs
from settings.errors import UserError

if TYPE_CHECKING:
    from datamodules.unlabelled import UnlabelledImages
    from models.load import LoadedRun


class Interrupted(Exception):
    """Ctrl-C: nothing is left behind."""

    exit_code = 130


def predict(*overrides: str) -> list[dict[str, Any]]:
    """Do as `python predict.py OVERRIDES` does, but for the screen; return a row an image.

    A row holds `path`, `class`, `probability`, `probabilities` (class name -> probability) and `reason`, which is
    None unless the file could not be read.

    Raises:
        UserError: a mistake in the overrides, no such run or images, or not one image that can be read.
    """
    from engine.prediction import kind_of, record
    from reports.predictions import to_plain

    (job,) = compose_jobs(overrides, multirun=False)
    loaded, pictures = gather(job)
    rows: list[dict[str, Any]] = []
    kind = kind_of(loaded)
    record(job, loaded, pictures, lambda one: rows.append(to_plain(kind, one, loaded.class_names)))
    return rows


def run(job: PredictJob) -> None:
    """One command line: a table of predictions in a file or on the screen, or an exported net."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be text that the terminal can show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        export(job) if job.export else report(job)
    except KeyboardInterrupt:
        raise Interrupted("stopped by Ctrl-C; no file was written") from None
    except BrokenPipeError:  # into `head`, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report(job: PredictJob) -> None:
    """Net and files -> rows -> how many files and which ones."""
    from engine.prediction import record, say, say_passed_over, screen

    loaded, pictures = gather(job)
    say_passed_over(pictures)
    show = None if job.output else screen(loaded, pictures)
    say(job, pictures, record(job, loaded, pictures, show))


def export(job: PredictJob) -> None:
    """Net and images -> a file that gives the same numbers."""
    from datamodules.sources.named import find_images
    from datamodules.unlabelled import UnlabelledImages
    from engine.export_check import write_checked
    from models.load import find_checkpoint, load_run
    from settings.run_names import find_run

    file = find_checkpoint(find_run(job.run, job.runs))
    loaded = load_run(file)
    pictures = UnlabelledImages.of(find_images(job.images), loaded.preprocessing) if job.images else None
    write_checked(job, loaded, file, pictures)


def gather(job: PredictJob) -> "tuple[LoadedRun, UnlabelledImages]":
    """The trained net and the list of files.

    Raises:
        UserError: what is wrong with both of them, or a file to write that is one of those to read.
    """
    from datamodules.sources.named import find_images
    from datamodules.unlabelled import UnlabelledImages
    from models import load_run
    from settings.run_names import find_run

    refused: list[str] = []
    loaded = found = None
    try:
        loaded = load_run(find_run(job.run, job.runs))
    except UserError as error:
        refused += error.messages
    try:
        found = find_images(job.images)
    except UserError as error:
        refused += error.messages
    if loaded is not None and job.thresholds == "tuned":
        try:
            loaded.thresholds()
        except UserError as error:
            refused += error.messages
    if refused or loaded is None or found is None:
        raise UserError(*refused)
    for key, target in (("output", job.output), ("gallery", job.gallery)):
        if target is not None and target.exists():
            inputs = {job.images, job.run, *found.paths}
            if target.resolve() in {target.cwd().joinpath(one).expanduser().resolve() for one in inputs}:
                raise UserError(f"{key}={target}: is one of the files to read; choose another name")
    return loaded, UnlabelledImages.of(found, loaded.preprocessing)


if __name__ == "__main__":
    sys.exit(
        launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=COMMAND.format_help, stops_with_reader=True)
    )
