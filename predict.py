"""Name what is on images: `python predict.py run=RUN images=photos output=predictions.csv`.

`python predict.py --help` lists the keys; `predict("run=RUN", "images=photos")` is the same from Python.
"""

import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.launch import launch
from settings.commands.predict import COMMAND, EXPORTS, PredictJob, compose_jobs
from settings.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from datamodules.sources.named import NamedImages
    from models.load import LoadedRun
    from reports.predictions import Prediction

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
    to_plain = writers_of(loaded).to_plain
    record(job, loaded, found, lambda one: rows.append(to_plain(one, loaded.class_names)))
    return rows


def writers_of(loaded: "LoadedRun") -> Any:
    """The module that writes what the run's task predicts: classes, sets of labels or masks."""
    from importlib import import_module

    kinds = {"class": "predictions", "labels": "label_sets", "mask": "masks"}
    return import_module(f"reports.{kinds[predicts(loaded)]}")


def predicts(loaded: "LoadedRun") -> str:
    """What the run's task predicts, by its source: a `class` an image, `labels` or a `mask`.

    Raises:
        UserError: nothing that can be written.
    """
    from settings.schema.names import task_value

    found = task_value(loaded.checkpoint["task"], "predicts")
    if found not in ("class", "labels", "mask"):
        raise UserError(f"run: task={loaded.checkpoint['task']} does not say what a prediction is (`predicts`)")
    return found


def probabilities_of(loaded: "LoadedRun") -> "Callable[[Tensor], Tensor]":
    """What turns outputs into probabilities; lightning, which takes seconds, is imported for few tasks."""
    from functools import partial

    import torch

    if loaded.checkpoint["task"] in ("classification", "segmentation"):
        return partial(torch.softmax, dim=1)
    from models.tasks import task_class

    return task_class(loaded.checkpoint["task"]).probabilities


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


class Disagreement(Exception):
    """An exported file that is not what its checkpoint is."""

    exit_code = 5


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
    """Predict, and say how many files and which ones."""
    loaded, found = gather(job)
    for reason, names in found.passed_over.items():
        print(f"passed over: {len(names)} {reason} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    show = None if job.output else writers_of(loaded).screen_rows(sys.stdout, loaded.class_names, found.names)
    reasons = record(job, loaded, found, show)
    unread = sum(reasons.values())
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    print(f"{len(found) - unread} images predicted{f'; {unread} not read: {said}' if unread else ''}")
    if job.gallery and job.gallery.is_file():
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
    return loaded, found


def record(job: PredictJob, loaded: "LoadedRun", found: "NamedImages", show: Any) -> Counter[str]:
    """Predict all files, write the files that were asked for, hand each row to `show`; count why files failed."""
    from contextlib import ExitStack

    from reports.gallery import Gallery
    from reports.predictions import with_progress, written_whole

    kind = writers_of(loaded)
    reasons: Counter[str] = Counter()
    gallery = None
    if job.gallery and predicts(loaded) == "class":  # of other tasks there is no least certain image
        gallery = Gallery(most=job.gallery_images, class_names=loaded.class_names)
    with ExitStack() as files:
        writers = [show] if show else []
        if job.output:
            rows = kind.csv_rows if job.output.suffix.lower() == ".csv" else kind.json_rows
            writers.append(rows(files.enter_context(written_whole(job.output, "output")), loaded.class_names))
        if job.output and predicts(loaded) == "mask":
            writers.append(mask_files(job))
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


def mask_files(job: PredictJob) -> Any:
    """What writes a PNG an image into the folder beside the output."""
    from models.tasks.segmentation import overlay, palette
    from reports.masks import png_files

    assert job.output is not None
    folder = job.output.with_name(f"{job.output.stem}-masks")
    return png_files(folder, palette=palette(), overlay=overlay if job.overlay else None)


def predictions(job: PredictJob, loaded: "LoadedRun", found: "NamedImages") -> "Iterator[Prediction]":
    """Each file's prediction in the order of the list: decoded, fitted and normalised as in evaluation."""
    import torch

    from datamodules.transforms import normalise, unfit_mask
    from datamodules.unlabelled import UnlabelledImages, picture_batches
    from engine.scoring_processes import Processes
    from reports.masks import OUTSIDE
    from reports.predictions import Prediction

    batch_size = job.batch_size or min(LARGEST_BATCH, loaded.checkpoint["config"]["data"]["batch_size"])
    batches = -(-len(found) // batch_size)
    workers = min(8, os.cpu_count() or 1) if job.num_workers is None else job.num_workers
    workers = min(workers, batches) if batches > 1 else 0  # a process costs more than it reads in one batch
    device = Processes().device(job.device)
    net = loaded.net.to(device)
    pictures = UnlabelledImages(paths=found.paths, reasons=found.reasons, preprocessing=loaded.preprocessing)
    start = 0
    labels_of = label_chooser(job, loaded)
    has_mask, probabilities_from = predicts(loaded) == "mask", probabilities_of(loaded)
    for images, reasons, sizes in picture_batches(pictures, batch_size=batch_size, num_workers=workers):
        with torch.inference_mode():
            logits = net(normalise(images.to(device), loaded.preprocessing)) if len(images) else torch.empty(0, 1)
            probabilities = probabilities_from(logits.float()).cpu()
        finite = probabilities.flatten(1).isfinite().all(dim=1).tolist()
        read = 0
        names, start = found.names[start : start + len(reasons)], start + len(reasons)
        for name, reason in zip(names, reasons, strict=True):
            if reason is not None:
                yield Prediction(name=name, reason=reason)
                continue
            if finite[read] and has_mask:
                seen = probabilities[read].argmax(dim=0).to(torch.uint8)
                mask = unfit_mask(seen, *sizes[read], loaded.preprocessing, outside=OUTSIDE)
                yield Prediction(name=name, image=images[read], mask=mask, seen=seen)
            elif finite[read]:
                labels = labels_of(probabilities[read]) if labels_of else ()
                yield Prediction(name=name, probabilities=probabilities[read], labels=labels, image=images[read])
            else:
                yield Prediction(name=name, reason="the net gives no number for it")
            read += 1


def export(job: PredictJob) -> None:
    """Write the net to a file, open it again, and compare the whole chain on real images.

    Raises:
        Disagreement: the file is not what the checkpoint is; it is not kept.
    """
    import torch

    from datamodules.transforms import normalise
    from models import export as exporting
    from models import load_run
    from models.analysis.parity import in_batches, link, net_links
    from models.load import find_checkpoint
    from reports.parity import table, write_parity
    from reports.predictions import replaced_when_whole
    from settings.run_names import find_run

    file = find_checkpoint(find_run(job.run, job.runs))
    loaded = load_run(file)
    inside = job.preprocessing
    fitted, pictures, task, origin = real_images(job, loaded, file)
    normalised = normalise(fitted, loaded.preprocessing)
    program = exporting.trace(loaded, inside=inside)
    probabilities = "sigmoid" if predicts(loaded) == "labels" else "softmax"
    about = exporting.describe(loaded, inside=inside, probabilities=probabilities)
    links = net_links(loaded.net, normalised, task=task, checkpoint=file, compiled=job.compile)
    given = {"none": normalised, "normalise": fitted, "resize": pictures}[inside]
    with torch.inference_mode():
        reference = in_batches(loaded.net, list(normalised) if inside == "resize" else normalised)
        if job.export == "onnx":
            links.append(link("exported program", in_batches(program.module(), given), reference))
    write, read, said = {
        "onnx": (exporting.write_onnx, exporting.read_onnx, "ONNX Runtime, from the file"),
        "torch_export": (exporting.write_program, exporting.read_program, "exported program, from the file"),
    }[job.export or ""]
    name = f"{loaded.checkpoint['model']['name']}{EXPORTS[job.export or '']}"
    folder = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    output = job.output or folder / "export" / name
    with replaced_when_whole(output, "output") as fresh:
        write(program, about, fresh)
        opened, kept = read(fresh)
        with torch.inference_mode():
            links.append(link(said, in_batches(opened, given), reference))
        print(f"{exporting.INSIDE[inside]}\n{len(fitted)} {origin}\n{table(links)}", flush=True)
        differing = [one.name for one in links if not one.agrees]
        if differing or kept != about:
            what = ", ".join(differing) or "the file's own description"
            raise Disagreement(f"export={job.export}: {what} does not agree with {file}; nothing was written")
        write_parity(output, links, images=len(fitted), origin=origin, about=about)
    print(f"export: {output}", flush=True)


def real_images(job: PredictJob, loaded: "LoadedRun", file: Path) -> tuple[Any, list[Any], Any, str]:
    """Images to compare on: those of `images`, else the run's own test images.

    Returns:
        uint8 (N, C, S, S) as the net reads them; the same, if the file resizes, at their own sizes, (C, H, W) each;
        the run's task with the weights of the checkpoint, None where only images are there; where they come from.

    Raises:
        UserError: there are none.
    """
    import torch

    from datamodules.unlabelled import UnlabelledImages

    if job.images:
        from datamodules.sources.named import find_images
        from datamodules.sources.pictures import read_picture

        found = find_images(job.images)
        chosen = spread(len(found), job.parity_images)
        files = UnlabelledImages(paths=found.paths, reasons=found.reasons, preprocessing=loaded.preprocessing)
        fitted, reasons, _ = files[chosen]
        read = [found.paths[k] for k, reason in zip(chosen.tolist(), reasons, strict=True) if reason is None]
        if not read:
            raise UserError(f"images={job.images}: none of {len(found)} files could be read")
        whole = job.preprocessing == "resize"
        pictures = [read_picture(Path(path), loaded.preprocessing.channels) for path in read] if whole else []
        return fitted, pictures, None, f"images of {job.images}"
    data, task = run_again(loaded, file)
    split = "test" if "test" in data.splits else "val"
    loader = data.test_dataloader() if split == "test" else data.val_dataloader()
    chosen = spread(len(data.splits[split]), job.parity_images)
    channels = loaded.preprocessing.channels
    pictures = [data.splits[split].image(k, channels) for k in chosen.tolist()] if job.preprocessing == "resize" else []
    return torch.as_tensor(data.fit(loader.dataset[chosen][0])), pictures, task, f"{split} images of the run"


def spread(count: int, most: int) -> Any:
    """Up to `most` of so many indices, evenly spread, int64."""
    import torch

    return torch.linspace(0, count - 1, min(count, most)).round().long()


def run_again(loaded: "LoadedRun", file: Path) -> tuple[Any, Any]:
    """The run's data, and its task as training builds it, with the checkpoint's weights.

    Raises:
        UserError: the data are not there any more.
    """
    from pydantic import ValidationError

    from engine.data_and_task import build_task, load_data
    from models.checkpoint import read_checkpoint
    from settings.reading.compose import config_from_plain

    try:
        config = config_from_plain(loaded.checkpoint["config"])
        data = load_data(config)
        data.configure(seed=config.seed, preprocessing=loaded.preprocessing, **config.data.feeding_arguments())
        data.setup()
    except (UserError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the run's own test images are not there ({reason}); name others with images=FOLDER"
        ) from error
    config.model.weights, config.trainer.compile = "none", False  # the checkpoint has the weights
    task = build_task(config, data, loaded.preprocessing)
    task.load_state_dict(read_checkpoint(file)["state_dict"])
    return data, task.eval()


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=COMMAND.format_help))
