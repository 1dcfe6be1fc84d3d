"""Which images of a run are explained, and which class of each: telling test images, or those that the user names."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.analysis.at_rest import at_rest
from models.analysis.telling_images import telling_images
from models.normalisation import Normalise
from reports.explanation.subject import Subject
from settings.commands.explain import Explanation
from settings.errors import UserError, unknown

if TYPE_CHECKING:
    from models.load import LoadedRun

MOST = 2000
"""Test images that telling ones are chosen from, evenly spread."""
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Images that may be explained.

    Attributes:
        pictures: uint8 (N, C, S, S), as the net reads them but for normalisation.
        keys: what they are called.
        truth: how far each class is true of each, float (N, K); None where nobody knows.
    """

    pictures: Tensor
    keys: list[str]
    truth: Tensor | None


def test_images(loaded: "LoadedRun", names: list[str] | None = None) -> Candidates:
    """Test images of the run (validation, where it has none): those of these names, else up to `MOST`.

    Raises:
        UserError: the data are not there any more, or have no image of such a name.
    """
    from models.tasks import task_class

    data = data_of(loaded)
    split = "test" if "test" in data.splits else "val"
    keys = list(data.splits[split].keys)
    if names is None:
        chosen = torch.linspace(0, len(keys) - 1, min(MOST, len(keys))).round().long()
    else:
        places = {key: index for index, key in enumerate(keys)}
        if lacking := [name for name in names if name not in places]:
            raise UserError(unknown("images", lacking[0], keys[:1000]))
        chosen = torch.tensor([places[name] for name in names])
    truth_of, batches = task_class(loaded.checkpoint["task"]).truth, chosen.split(256)
    found = [data.plain_batch(split, part) for part in batches]
    return Candidates(
        pictures=torch.cat([images for images, _ in found]),
        keys=[keys[index] for index in chosen.tolist()],
        truth=torch.cat([truth_of(targets, len(loaded.class_names)) for _, targets in found]),
    )


def data_of(loaded: "LoadedRun") -> Any:
    """The run's own data, set up.

    Raises:
        UserError: they are not there any more.
    """
    from pydantic import ValidationError

    from engine.data_and_task import load_data
    from settings.reading.compose import config_from_plain

    try:
        config = config_from_plain(loaded.checkpoint["config"])
        data = load_data(config)
        data.configure(seed=config.seed, preprocessing=loaded.preprocessing, **config.data.feeding_arguments())
        data.setup()
    except (KeyError, UserError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the run's own images are not there ({reason}); name others with images=FOLDER") from error
    return data


def read_files(pictures: Any) -> Candidates:
    """The files that a user names (`datamodules.unlabelled.UnlabelledImages`); a line for each that cannot be read.

    Raises:
        UserError: none can be read.
    """
    images, reasons, _ = pictures[torch.arange(len(pictures))]
    named = list(zip(pictures.names, reasons, strict=True))
    for name, reason in named:
        if reason is not None:
            print(f"left out: {name}: {reason}", flush=True)
    if not len(images):
        raise UserError(f"images: none of {len(named)} files could be read")
    return Candidates(pictures=images, keys=[name for name, reason in named if reason is None], truth=None)


def choose(job: Explanation, loaded: "LoadedRun", candidates: Candidates) -> Subject:
    """Telling ones of the candidates, or all where the user named them, and what is explained of each.

    Raises:
        UserError: the task has no classes, or there is no such class.
    """
    from models.tasks import task_class

    task = task_class(loaded.checkpoint["task"])
    if task.output not in ("logits", "dense"):
        raise UserError(
            f"run: task={loaded.checkpoint['task']} gives no scores of classes, which explain.py traces back"
        )
    device = next(loaded.net.parameters()).device
    prepare, names = Normalise(loaded.preprocessing).to(device), loaded.class_names
    with at_rest(loaded.net), torch.no_grad():
        answers, classes, probabilities = [], [], []
        for start in range(0, len(candidates.pictures), BATCH):  # outputs of a segmentation are large
            part = slice(start, start + BATCH)
            outputs = loaded.net(prepare(candidates.pictures[part].to(device)))
            answers.append(task.answers(outputs).cpu())
            truth = None if candidates.truth is None else candidates.truth[part]
            classes.append(explained_classes(job.target, names, answers[-1], truth))
            probabilities.append(task.confidence(outputs, classes[-1].to(device)).float().cpu())
        chosen = [(index, "") for index in range(len(candidates.pictures))]
        if candidates.truth is not None and not job.images:
            right = candidates.truth.gather(1, torch.cat(answers)[:, None])[:, 0] > 0
            chosen = telling_images(right, torch.cat(probabilities), each=job.each)
        indices = torch.tensor([index for index, _ in chosen])
        images = prepare(candidates.pictures[indices].to(device))
        explained = torch.cat(classes)[indices].to(device)
        wanted = task.speaks_for(loaded.net(images), explained)
    return Subject(
        net=loaded.net,
        name=loaded.checkpoint["model"]["name"],
        class_names=names,
        images=images,
        pictures=candidates.pictures[indices],
        keys=[candidates.keys[index] for index in indices.tolist()],
        kinds=[kind for _, kind in chosen],
        truths=["" if candidates.truth is None else said(candidates.truth[index], names) for index, _ in chosen],
        classes=explained,
        probabilities=torch.cat(probabilities)[indices],
        wanted=wanted,
        layer=job.layer,
    )


def said(shares: Tensor, names: tuple[str, ...]) -> str:
    """The classes that are true of an image."""
    return ", ".join(name for name, share in zip(names, shares.tolist(), strict=True) if share > 0) or "none"


def explained_classes(target: str, names: tuple[str, ...], answers: Tensor, truth: Tensor | None) -> Tensor:
    """The class of each image that is explained, int64 (N,).

    Raises:
        UserError: there is no such class, or nobody knows what is true.
    """
    if target in names:
        return torch.full_like(answers, names.index(target))
    if target == "predicted":
        return answers
    if target != "true":
        raise UserError(unknown("target", target, [*names, "predicted", "true"]))
    if truth is None:
        raise UserError("target=true: nobody knows what is true of files; name a class, or take target=predicted")
    return truth.argmax(dim=1)
