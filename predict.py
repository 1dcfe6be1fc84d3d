"""Name what is on images: `python predict.py run=RUN images=photos output=predictions.csv`.

`python predict.py --help` lists the keys; `predict("run=RUN", "images=photos")` is the same from Python.
"""

import io
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import UserError
from configs.launch import launch
from configs.predict import PredictJob, compose_jobs, format_help

if TYPE_CHECKING:
    from callbacks.predictions import Prediction
    from datamodules.sources.named import NamedImages
    from models.load import LoadedRun

LARGEST_BATCH = 128  # of the default: the run may have trained on a larger machine


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
    (job,) = compose_jobs(overrides, multirun=False)
    loaded, found = gather(job)
    rows: list[dict[str, Any]] = []
    record(job, loaded, found, lambda one: rows.append(one.to_plain(loaded.class_names)))
    return rows


def run(job: PredictJob) -> None:
    """One command line: a table of predictions in a file, or on the screen."""
    from callbacks.predictions import screen_rows

    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be text that the terminal can show
        sys.stdout.reconfigure(errors="backslashreplace")
    loaded, found = gather(job)
    for reason, names in found.passed_over.items():
        print(f"passed over: {len(names)} {reason} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    show = None if job.output else screen_rows(sys.stdout, loaded.class_names, found.names)
    try:
        reasons = record(job, loaded, found, show)
    except KeyboardInterrupt:
        raise Interrupted("stopped by Ctrl-C; no file was written") from None
    except BrokenPipeError:  # into `head`, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    unread = sum(reasons.values())
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    print(f"{len(found) - unread} images predicted{f'; {unread} not read: {said}' if unread else ''}")
    if job.gallery:
        print(f"gallery: {job.gallery}")
    if job.output:
        print(f"predictions: {job.output}", flush=True)
    if unread == len(found):
        raise UserError(f"images={job.images}: none of {len(found)} files could be read: {said}")


def gather(job: PredictJob) -> "tuple[LoadedRun, NamedImages]":
    """The trained net and the list of files.

    Raises:
        UserError: what is wrong with both of them, or a file to write that is one of those to read.
    """
    from datamodules.sources.named import find_images
    from models import load_run

    refused: list[str] = []
    loaded = found = None
    try:
        loaded = load_run(job.run)
    except UserError as error:
        refused += error.messages
    try:
        found = find_images(job.images)
    except UserError as error:
        refused += error.messages
    if loaded is None or found is None:
        raise UserError(*refused)
    for key, target in (("output", job.output), ("gallery", job.gallery)):
        if target is not None and target.exists():
            inputs = {job.images, job.run, *found.paths}
            if target.resolve() in {target.cwd().joinpath(one).expanduser().resolve() for one in inputs}:
                raise UserError(f"{key}={target}: is one of the files to read; choose another name")
    return loaded, found


def record(job: PredictJob, loaded: "LoadedRun", found: "NamedImages", show: Any) -> Counter[str]:
    """Predict all files, write the files that were asked for, hand each row to `show`; count why files failed."""
    from contextlib import ExitStack

    from callbacks.gallery import Gallery
    from callbacks.predictions import csv_rows, json_rows, written_whole

    reasons: Counter[str] = Counter()
    gallery = Gallery(most=job.gallery_images, class_names=loaded.class_names) if job.gallery else None
    with ExitStack() as files:
        writers = [show] if show else []
        if job.output:
            rows = csv_rows if job.output.suffix.lower() == ".csv" else json_rows
            writers.append(rows(files.enter_context(written_whole(job.output, "output")), loaded.class_names))
        if gallery:
            writers.append(gallery.add)
        with_bar = sys.stderr.isatty() and not (show and sys.stdout.isatty())  # else the rows show how far it is
        for one in with_progress(predictions(job, loaded, found), total=len(found), shown=with_bar):
            for write in writers:
                write(one)
            if one.reason is not None:
                reasons[one.reason] += 1
        if job.gallery and gallery:
            with written_whole(job.gallery, "gallery") as file:
                file.write(gallery.html(title=f"Predictions of {Path(job.run).name}", images=job.images))
    return reasons


def predictions(job: PredictJob, loaded: "LoadedRun", found: "NamedImages") -> "Iterator[Prediction]":
    """Each file's prediction in the order of the list: decoded, fitted and normalised as in evaluation."""
    import torch

    from callbacks.predictions import Prediction
    from datamodules.transforms import normalise
    from datamodules.unlabelled import UnlabelledImages, picture_batches

    batch_size = job.batch_size or min(LARGEST_BATCH, loaded.checkpoint["config"]["data"]["batch_size"])
    batches = -(-len(found) // batch_size)
    workers = min(8, os.cpu_count() or 1) if job.num_workers is None else job.num_workers
    workers = min(workers, batches) if batches > 1 else 0  # a process costs more than it reads in one batch
    device = choose_device(job.accelerator)
    net = loaded.net.to(device)
    pictures = UnlabelledImages(paths=found.paths, reasons=found.reasons, preprocessing=loaded.preprocessing)
    start = 0
    for images, reasons in picture_batches(pictures, batch_size=batch_size, num_workers=workers):
        with torch.inference_mode():
            logits = net(normalise(images.to(device), loaded.preprocessing)) if len(images) else torch.empty(0, 1)
            probabilities = logits.float().softmax(dim=1).cpu()
        finite = probabilities.isfinite().all(dim=1).tolist()
        read = 0
        names, start = found.names[start : start + len(reasons)], start + len(reasons)
        for name, reason in zip(names, reasons, strict=True):
            if reason is not None:
                yield Prediction(name=name, reason=reason)
                continue
            if finite[read]:
                yield Prediction(name=name, probabilities=probabilities[read], image=images[read])
            else:
                yield Prediction(name=name, reason="the net gives no number for it")
            read += 1


def choose_device(accelerator: str) -> Any:
    """The device that `accelerator` means; `auto` takes a GPU where there is one.

    Raises:
        UserError: there is none of that kind.
    """
    import torch

    there = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if accelerator != "auto" and not there[accelerator]:
        raise UserError(f"accelerator={accelerator}: this machine has none; take auto or cpu")
    chosen = next(name for name in there if there[name]) if accelerator == "auto" else accelerator
    return torch.device({"gpu": "cuda"}.get(chosen, chosen))


def with_progress(rows: "Iterator[Prediction]", *, total: int, shown: bool) -> "Iterator[Prediction]":
    """The rows, and a bar on standard error that says how far it is."""
    if not shown:
        yield from rows
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(
        rows, total=total, description="images", console=Console(stderr=True), refresh_per_second=4, transient=True
    )


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=format_help))
