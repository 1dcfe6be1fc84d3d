"""What a trained net says of unlabelled images, row by row; imports no lightning, which takes seconds."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from settings.commands.predict import PredictJob
from settings.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from models.load import LoadedRun
    from reports.predictions import Kind, Prediction


KINDS = {"class": "class_rows", "labels": "label_sets", "mask": "masks", "number": "numbers"}
"""What a task predicts -> the module of `reports/` that says what stands in a row."""


def kind_of(loaded: "LoadedRun") -> "Kind":
    """What stands in a row of what the run's task predicts."""
    from importlib import import_module

    return cast("Kind", import_module(f"reports.{KINDS[predicts(loaded)]}"))


def predicts(loaded: "LoadedRun") -> str:
    """What the run's task predicts, by its source: a key of `KINDS`.

    Raises:
        UserError: nothing that can be written.
    """
    from settings.schema.names import task_value

    found = task_value(loaded.checkpoint["task"], "predicts")
    if found not in KINDS:
        said = f"`predicts` is one of {', '.join(KINDS)}"
        raise UserError(f"run: task={loaded.checkpoint['task']} does not say what a prediction is: {said}")
    return found


def label_chooser(job: PredictJob, loaded: "LoadedRun") -> "Callable[[Tensor], tuple[str, ...]] | None":
    """What turns probabilities (K,) into the labels that are there; None of a task without label sets.

    Raises:
        UserError: thresholds of a run that has none.
    """
    thresholds = list(loaded.thresholds().values()) if job.thresholds == "tuned" else [0.5] * len(loaded.class_names)
    if predicts(loaded) != "labels":
        return None

    def above(probs: "Tensor") -> tuple[str, ...]:
        rows = zip(loaded.class_names, probs.tolist(), thresholds, strict=True)
        return tuple(name for name, prob, threshold in rows if prob > threshold)

    return above


def record(job: PredictJob, loaded: "LoadedRun", pictures: Any, show: Any) -> Counter[str]:
    """Predict all files, write the files that were asked for, hand each row to `show`; count why files failed."""
    from contextlib import ExitStack

    from reports.gallery import Gallery
    from reports.predictions import csv_rows, json_rows, written_whole
    from reports.terminal import progress

    kind = kind_of(loaded)
    reasons: Counter[str] = Counter()
    gallery = None
    if job.gallery and predicts(loaded) == "class":  # of other tasks there is no least certain image
        gallery = Gallery(most=job.gallery_images, class_names=loaded.class_names)
    with ExitStack() as files:
        writers = [show] if show else []
        if job.output:
            rows = csv_rows if job.output.suffix.lower() == ".csv" else json_rows
            writers.append(rows(files.enter_context(written_whole(job.output, "output")), kind, loaded.class_names))
        if job.output and predicts(loaded) == "mask":
            writers.append(mask_files(job))
        if gallery:
            writers.append(gallery.add)
        predicted = predictions(job, loaded, pictures)
        if not (show and sys.stdout.isatty()):  # else the rows show how far it is
            predicted = progress(predicted, "images", total=len(pictures))
        for one in predicted:
            for write in writers:
                write(one)
            if one.reason is not None:
                reasons[one.reason] += 1
        if job.gallery and gallery:
            with written_whole(job.gallery, "gallery") as file:
                file.write(gallery.html(title=f"Predictions of {Path(job.run).name}", images=job.images))
    return reasons


def screen(loaded: "LoadedRun", pictures: Any) -> "Callable[[Prediction], None]":
    """What shows a row on standard output."""
    from reports.predictions import screen_rows

    return screen_rows(sys.stdout, kind_of(loaded), loaded.class_names, pictures.names)


def say_passed_over(pictures: Any) -> None:
    """Say what lies beside the files and is not meant."""
    for reason, names in pictures.passed_over.items():
        print(f"passed over: {len(names)} {reason} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")


def say(job: PredictJob, pictures: Any, reasons: Counter[str]) -> None:
    """Say how many files there were, why some failed, and what was written.

    Raises:
        UserError: none could be read.
    """
    unread = sum(reasons.values())
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    print(f"{len(pictures) - unread} images predicted{f'; {unread} not read: {said}' if unread else ''}")
    if job.gallery and job.gallery.is_file():
        print(f"gallery: {job.gallery}")
    if job.output:
        print(f"predictions: {job.output}", flush=True)
    if unread == len(pictures):
        raise UserError(f"images={job.images}: none of {len(pictures)} files could be read: {said}")


def mask_files(job: PredictJob) -> Any:
    """What writes a PNG an image into the folder beside the output."""
    from models.analysis.mask_colours import overlay, palette
    from reports.masks import png_files

    assert job.output is not None
    folder = job.output.with_name(f"{job.output.stem}-masks")
    return png_files(folder, palette=palette(), overlay=overlay if job.overlay else None)


def predictions(job: PredictJob, loaded: "LoadedRun", pictures: Any) -> "Iterator[Prediction]":
    """Each file's prediction in the order of the list: decoded, fitted and computed as in evaluation."""
    import torch

    from engine.predictors import predictor_of
    from engine.scoring_processes import LARGEST_BATCH, Processes
    from reports.masks import OUTSIDE
    from reports.predictions import Prediction

    batch_size = job.batch_size or min(
        LARGEST_BATCH, loaded.checkpoint["config"]["data"]["batch_size"] or LARGEST_BATCH
    )
    device = Processes().device(job.device)
    net = predictor_of(loaded).to(device)
    start = 0
    labels_of, has_mask = label_chooser(job, loaded), predicts(loaded) == "mask"
    for images, reasons, sizes in pictures.batches(batch_size=batch_size, num_workers=job.num_workers):
        with torch.inference_mode():
            probabilities = net(images.to(device)).cpu() if len(images) else torch.empty(0, 1)
        finite = probabilities.flatten(1).isfinite().all(dim=1).tolist()
        read = 0
        names, start = pictures.names[start : start + len(reasons)], start + len(reasons)
        for name, reason in zip(names, reasons, strict=True):
            if reason is not None:
                yield Prediction(name=name, reason=reason)
                continue
            if finite[read] and has_mask:
                seen = probabilities[read].argmax(dim=0).to(torch.uint8)
                mask = pictures.unfit(seen, *sizes[read], outside=OUTSIDE)
                yield Prediction(name=name, image=images[read], mask=mask, seen=seen)
            elif finite[read]:
                labels = labels_of(probabilities[read]) if labels_of else ()
                yield Prediction(name=name, probabilities=probabilities[read], labels=labels, image=images[read])
            else:
                yield Prediction(name=name, reason="the net gives no number for it")
            read += 1
