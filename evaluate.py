"""Score checkpoints: `python evaluate.py run=RUN`, an ensemble of them, several views, other data, robustness.

`python evaluate.py --help` lists the keys.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.evaluate import COMMAND, Evaluation, compose_jobs, data_config
from settings.commands.launch import launch
from settings.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from datamodules.scoring import ScoredImages
    from models.inference import Classifier
    from models.load import LoadedRun
    from reports.evaluation import Probabilities
    from reports.robustness import Robustness
    from settings.schema.run_config import RunConfig


@dataclass(frozen=True, kw_only=True)
class Member:
    """One checkpoint: where it comes from, and its net with classes in the order of the first member's."""

    path: Path
    run: "LoadedRun"
    net: "Classifier"

    @property
    def name(self) -> str:
        """How it is called on the screen, and where runs are named."""
        from settings.run_names import run_of

        folder = run_of(self.path)
        name = f"{folder.parent.name}/{folder.name}"
        plain = self.path.is_dir() or self.path.name == "best.ckpt"
        return name if plain else f"{name}/{self.path.relative_to(folder).as_posix()}"


def evaluate(*overrides: str) -> dict[str, float]:
    """Do as `python evaluate.py OVERRIDES` does; return the metrics, as `test/accuracy` and the like.

    Raises:
        UserError: a mistake in the overrides, or runs or data that are not there.
    """
    return run(compose_jobs(overrides, multirun=False)[0])


def run(job: Evaluation) -> dict[str, float]:
    """Members -> images -> probabilities of each -> their average -> scores -> files."""
    from engine.run_folder import results_folder
    from engine.scoring_processes import joined
    from reports.evaluation import write_evaluation

    with joined() as processes:
        device = processes.device(job.device)
        members = load_members(job.checkpoints, device)
        if job.thresholds == "tuned":
            members[0].run.thresholds()  # refused before the data are read
        if not scores_classes(members):
            return evaluate_other(job, members, processes)
        config = data_config(members[0].run.checkpoint["config"], job.data)
        images, facts = load_images(job, config, members)
        facts["members"] = check_members(job, images, members, config, facts["data_fingerprint"])
        batch_size = job.batch_size or config.data.batch_size
        work: dict[str, Any] = {"batch_size": batch_size, "device": device, "processes": processes}
        found = score(job, members, images, **work)
        robustness = measure_robustness(job, members, images, **work)
        metrics: dict[str, float] = {}
        if processes.rank == 0:
            images, facts["unreadable_files"] = readable(images, found[0, "centre"].indices)
            first = prepare_for(members[0], job, "centre")
            metrics = write_evaluation(
                results_folder(output_folder(job, members)),
                split=job.split,
                views=job.views,
                images=images,
                class_names=members[0].run.class_names,
                found=found,
                facts=facts,
                pictures=lambda indices: images.pictures(first, indices),
                robustness=robustness,
                bootstrap=job.bootstrap,
                seed=job.seed,
                hardest=job.hardest,
                command=job.command,
            )
    return metrics


def scores_classes(members: Sequence[Member]) -> bool:
    """Whether the members tell one class an image, which is scored in more ways than other tasks are."""
    from models.tasks import task_class

    return all(task_class(member.run.checkpoint["task"]).predicts == "class" for member in members)


def evaluate_other(job: Evaluation, members: Sequence[Member], processes: Any) -> dict[str, float]:
    """Score a run of another task by the task's own metrics.

    Raises:
        UserError: what only a classification can be asked for; or data that do not fit.
    """
    from engine.data_and_task import build_task, load_data
    from engine.run_folder import results_folder
    from engine.task_evaluation import evaluate_task
    from models.checkpoint import read_checkpoint
    from settings.preprocessing import Preprocessing
    from settings.run_names import checkpoint_of

    member = members[0]
    name = member.run.checkpoint["task"]
    asked = {
        "run": len(members) > 1,
        "views": job.views != "centre",
        **{key: bool(getattr(job, key)) for key in ("corruptions", "attack", "curves", "shortcut")},
        "torchrun": processes.world > 1,
    }
    if refused := [key for key, wanted in asked.items() if wanted]:
        raise UserError(f"{', '.join(refused)}: not for task={name}, whose single run is scored in one process")
    config = data_config(member.run.checkpoint["config"], job.data)
    config.model.weights, config.trainer.compile = "none", False  # the checkpoint has the weights
    data = load_data(config, for_scoring=job.other_data)
    if tuple(data.class_names) != tuple(member.run.class_names):
        raise UserError(f"the data have the classes {', '.join(data.class_names)}; the run knows others")
    preprocessing = Preprocessing.from_dict(member.run.checkpoint["preprocessing"])
    feeding = {**config.data.feeding_arguments(), "batch_size": job.batch_size or config.data.batch_size}
    data.configure(seed=config.seed, preprocessing=preprocessing, **feeding)
    data.setup()
    if job.split not in data.splits:
        raise UserError(f"split={job.split}: there are no such images; there is {', '.join(data.splits)}")
    task = build_task(config, data, preprocessing)
    task.load_state_dict(read_checkpoint(checkpoint_of(member.path))["state_dict"])
    if job.thresholds == "tuned":
        task.use_calibration(member.run.checkpoint["calibration"])
    data.splits["test"] = data.splits[job.split]
    arguments = {**config.trainer.computing_arguments(), "devices": 1, "num_nodes": 1, "strategy": "auto"}
    if job.device != "auto":
        arguments["accelerator"] = job.device
    return evaluate_task(
        results_folder(output_folder(job, members)),
        task,
        data,
        split=job.split,
        arguments=arguments,
        facts={
            "run": member.name,
            "task": name,
            **({"thresholds": member.run.thresholds()} if job.thresholds == "tuned" else {}),
            "data": {"name": config.data.name},
            "data_fingerprint": data.fingerprint(),
            "preprocessing": preprocessing.to_dict(),
        },
        command=job.command,
    )


def load_members(paths: Sequence[Path], device: Any) -> list[Member]:
    """Load the checkpoints; all outputs in the first one's order of classes.

    Raises:
        UserError: one of them has other classes.
    """
    from models import load_run
    from models.inference import Classifier

    runs = [load_run(path) for path in paths]
    for path, one in zip(paths, runs, strict=True):
        if not {"config", "data_fingerprint"} <= set(one.checkpoint):
            raise UserError(f"run: {path} does not say which data it was trained on; predict.py uses it without")
    names = runs[0].class_names
    for path, one in zip(paths, runs, strict=True):
        if set(one.class_names) != set(names):
            more, less = sorted(set(one.class_names) - set(names)), sorted(set(names) - set(one.class_names))
            raise UserError(
                f"run: {path} tells other classes apart than {paths[0]}: "
                f"{', '.join([*(f'+{name}' for name in more[:4]), *(f'-{name}' for name in less[:4])])}"
            )
    return [
        Member(path=path, run=one, net=Classifier.of(one, class_names=names).to(device))
        for path, one in zip(paths, runs, strict=True)
    ]


def load_images(
    job: Evaluation, config: "RunConfig", members: Sequence[Member]
) -> tuple["ScoredImages", dict[str, Any]]:
    """Read the data and map their classes to the net's by name.

    Raises:
        UserError: the data are not there, lack the split, or have classes that the net does not know.
    """
    from datamodules.scoring import ScoredImages, map_classes
    from engine.data_and_task import load_data
    from settings.errors import nearest
    from settings.runs import rooted

    data = load_data(config, for_scoring=job.other_data)
    data.configure(seed=config.seed, **config.data.feeding_arguments())
    data.setup()
    known = members[0].run.class_names
    places = map_classes(data.class_names, known)
    strangers = [name for name, place in zip(data.class_names, places, strict=True) if place is None]
    if strangers and (job.unknown == "refuse" or len(strangers) == len(places)):
        shown = [
            f"{name!r}" + (f" (nearest: {close[0]})" if (close := nearest(name, known)) else "") for name in strangers
        ]
        raise UserError(
            f"the data have {len(strangers)} classes that the net does not know: {', '.join(shown[:6])}",
            f"it knows {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}",
            *(["unknown=skip leaves their images out"] if len(strangers) < len(places) else []),
        )
    images = ScoredImages(
        data,
        list(data.splits) if job.split == "all" else [job.split],
        places=places,
        channels=max(member.run.preprocessing.channels for member in members),
        workers=config.data.num_workers,
    )
    occurring = set(images.targets.tolist())
    facts = {
        "data": {"name": config.data.name, "root": None if config.data.root is None else str(rooted(config.data.root))},
        "data_fingerprint": data.fingerprint(),
        "classes_of_the_data": {
            name: None if place is None else known[place] for name, place in zip(data.class_names, places, strict=True)
        },
        "classes_without_images": [name for place, name in enumerate(known) if place not in occurring],
        "left_out_images": images.left_out,
    }
    return images, facts


def check_members(
    job: Evaluation, images: "ScoredImages", members: Sequence[Member], config: "RunConfig", fingerprint: str
) -> list[dict[str, Any]]:
    """Say of each member what it is, and how many of the images it was trained on.

    Raises:
        UserError: a member was trained on images that it shall be tested on.
    """
    from settings.reading.compose import config_from_plain
    from settings.runs import rooted

    lines, described = [], []
    for member in members:
        own = config_from_plain(member.run.checkpoint["config"])
        roots = [None if one.data.root is None else rooted(one.data.root).resolve() for one in (own, config)]
        same_set = own.data.target == config.data.target and roots[0] == roots[1]
        folder = roots[0] if roots[0] is None or roots[0].is_dir() else roots[0].parent
        seen = images.found_in(
            trained_keys(member, own),
            folder=folder,
            same_data=same_set or member.run.checkpoint["data_fingerprint"] == fingerprint,
        )
        if seen and job.split in ("test", "val"):
            lines.append(
                f"run: {member.name} was trained on {len(seen)} of the {len(images)} images of split={job.split}, "
                f"such as {images.keys[seen[0]]} (its data.split_seed={own.data.split_seed}); leave it out"
            )
        described.append(
            {
                "name": member.name,
                "run": str(member.path),
                "model": member.run.checkpoint["model"]["name"],
                "parameters": sum(parameter.numel() for parameter in member.net.parameters()),
                "preprocessing": member.run.preprocessing.to_dict(),
                "trained_on_images": len(seen),
            }
        )
    if lines:
        raise UserError(*lines)
    return described


def trained_keys(member: Member, own: "RunConfig") -> list[str]:
    """The training images of a run, by its splits.csv; of a checkpoint that stands alone, by its configuration."""
    import csv

    from engine.data_and_task import load_data
    from settings.run_names import run_of

    table = run_of(member.path) / "splits.csv"
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as file:
            return [row["file"] for row in csv.DictReader(file) if row["split"] == "train"]
    data = load_data(own)
    data.configure(seed=own.seed, **own.data.feeding_arguments())
    data.setup()
    return list(data.splits["train"].keys)


def prepare_for(member: Member, job: Evaluation, views: str) -> Any:
    """What cuts the views of a batch as this member reads them."""
    from datamodules.views import cut_views

    return partial(
        cut_views,
        name=views,
        preprocessing=member.run.preprocessing,
        crop_fraction=job.crop_fraction,
        scales=job.scales,
    )


def score(
    job: Evaluation,
    members: Sequence[Member],
    images: "ScoredImages",
    *,
    batch_size: int,
    device: Any,
    processes: Any,
) -> dict[tuple[int, str], "Probabilities"]:
    """Probabilities of every member, by (its number, views): those that were asked for, and the centre beside them."""
    import torch

    from engine.scoring_processes import wait_for
    from reports.evaluation import gathered

    wanted = [(number, views) for number in range(len(members)) for views in dict.fromkeys(("centre", job.views))]
    prepare = {f"{number} {views}": prepare_for(members[number], job, views) for number, views in wanted}
    rows: dict[tuple[int, str], list[tuple[Tensor, Tensor]]] = {one: [] for one in wanted}
    seconds = dict.fromkeys(wanted, 0.0)
    with torch.inference_mode():
        for batch in images.batches(
            prepare, batch_size=batch_size, device=device, rank=processes.rank, world=processes.world
        ):
            for number, views in wanted:
                wait_for(device)
                start = time.perf_counter()
                probs = members[number].net(batch.views[f"{number} {views}"]).cpu().double()
                seconds[number, views] += time.perf_counter() - start
                rows[number, views].append((batch.indices, probs))
    return {one: gathered(processes.gather(rows[one]), processes.gather(seconds[one])) for one in wanted}


def readable(images: "ScoredImages", read: "Tensor") -> tuple["ScoredImages", list[str]]:
    """The images that were scored, and the paths of the files that could not be read; says how many they are."""
    if len(read) == len(images):
        return images, []
    rest, there = images.only(read), set(read.tolist())
    lacking = [path for index, path in enumerate(images.paths) if index not in there]
    print(f"left out {len(lacking)} files that cannot be read, such as {lacking[0]}", flush=True)
    return rest, lacking


def measure_robustness(
    job: Evaluation,
    members: Sequence[Member],
    images: "ScoredImages",
    *,
    batch_size: int,
    device: Any,
    processes: Any,
) -> "Robustness | None":
    """Accuracy of the members' average under each condition that was asked for; None where there is none.

    What is done to images is done to what each member reads, before its normalisation.

    Raises:
        UserError: an attack on members that read images of different sizes.
    """
    import torch

    from datamodules.distortions import conditions
    from datamodules.splits import subset
    from models.inference import average
    from reports.robustness import Robustness, Row

    how = [member.run.preprocessing for member in members]
    wanted = conditions(
        corruptions=job.corruptions,
        curves=job.curves,
        shortcut=job.shortcut,
        colour=how[0].channels == 3,
        seed=job.seed,
    )
    attacks = [(name, eps) for name in job.attack for eps in job.eps]
    if not wanted and not attacks:
        return None
    if job.curves and how[0].channels != 3:
        processes.say("curves: grey images have no hue")
    if attacks and len({(one.image_size, one.channels) for one in how}) > 1:
        raise UserError("attack: the members read images of different sizes or channels; attack them one by one")
    share = 1.0 if not job.robustness_images else min(1.0, job.robustness_images / len(images))
    chosen = subset(images.keys, images.targets, fraction=share).nonzero()[:, 0]
    prepare = {str(number): prepare_for(member, job, "centre") for number, member in enumerate(members)}
    right: dict[tuple[str, str, float], int] = {("", "images", 0.0): 0}

    def count(place: tuple[str, str, float], views: Sequence["Tensor"], targets: "Tensor") -> None:
        with torch.no_grad():
            probs = average([member.net(view) for member, view in zip(members, views, strict=True)])
        right[place] = right.get(place, 0) + int((probs.argmax(dim=1) == targets).sum())

    examples: dict[str, dict[str, list[Tensor]]] = {}

    def keep(place: tuple[str, str, float], view: "Tensor") -> None:
        table, name, _ = place
        examples.setdefault(table, {}).setdefault(name, []).append(view[0].cpu())

    batches = images.batches(
        prepare, batch_size=batch_size, device=device, chosen=chosen, rank=processes.rank, world=processes.world
    )
    for number, batch in enumerate(batches):
        views = [batch.views[str(place)][:, 0] for place in range(len(members))]
        targets, keys = (
            images.targets[batch.indices].to(device),
            [images.keys[index] for index in batch.indices.tolist()],
        )
        right["", "images", 0.0] += len(targets)
        count(("", "", 0.0), views, targets)
        for one in wanted:
            changed = [one.change(view, keys, plan.mean) for view, plan in zip(views, how, strict=True)]
            count((one.table, one.name, one.level), changed, targets)
            if number == 0:
                keep((one.table, one.name, one.level), changed[0])
        for name, eps in attacks:
            attacked = attack(job, members, views[0], targets, keys, name=name, eps=eps)
            count(("attacks", name, eps), [attacked] * len(members), targets)
            if number == 0:
                keep(("attacks", name, eps), (attacked * 255).round().to(torch.uint8))
    parts = processes.gather(right)
    if processes.rank:
        return None
    totals: dict[tuple[str, str, float], int] = {}
    for part in parts:
        for place, hits in part.items():
            totals[place] = totals.get(place, 0) + hits
    number_of_images = totals["", "images", 0.0]
    order = [(one.table, one.name, one.level) for one in wanted] + [("attacks", name, eps) for name, eps in attacks]
    return Robustness(
        rows=[
            Row(table=place[0], name=place[1], level=place[2], right=totals.get(place, 0), images=number_of_images)
            for place in order
        ],
        images=number_of_images,
        clean=totals.get(("", "", 0.0), 0) / number_of_images,
        largest_class=images.targets[chosen].bincount().max().item() / len(chosen),
        examples={
            table: [(name, torch.stack(shown)) for name, shown in names.items()] for table, names in examples.items()
        },
    )


def attack(
    job: Evaluation,
    members: Sequence[Member],
    images: "Tensor",
    targets: "Tensor",
    keys: Sequence[str],
    *,
    name: str,
    eps: float,
) -> "Tensor":
    """Attack uint8 images; returns float ones in [0, 1]. The random start of an image follows from its key."""
    import torch

    from datamodules.randomness import generator
    from models.analysis.attacks import average_loss, fgsm, pgd

    pixels, loss = images.float() / 255, average_loss([member.net for member in members])
    if name == "fgsm":
        return fgsm(loss, pixels, targets, eps=eps)
    draws = [torch.rand(images.shape[1:], generator=generator(job.seed, "attack", key)) for key in keys]
    start = (2 * torch.stack(draws).to(images.device) - 1) * eps
    # 2.5 eps over all steps, as Madry et al.: the far side of the ball can be reached from any start.
    return pgd(
        loss, pixels, targets, eps=eps, steps=job.attack_steps, step_size=2.5 * eps / job.attack_steps, start=start
    )


def output_folder(job: Evaluation, members: Sequence[Member]) -> Path:
    """RUN/evaluation/<split>-<views>; what is no plain score of the best checkpoint has a longer name."""
    import hashlib

    from settings.run_names import run_of

    if job.output is not None:
        return job.output
    path = members[0].path
    parts = [job.split, job.views]
    if not path.is_dir() and path.name != "best.ckpt":
        parts.append(path.stem)
    if len(members) > 1:
        digest = hashlib.blake2b("\n".join(sorted(str(one.path) for one in members)).encode(), digest_size=3)
        parts.append(f"ensemble-of-{len(members)}-{digest.hexdigest()}")
    for word in job.data:
        key, _, value = word.partition("=")
        if key in ("data", "data.root"):
            parts.append("".join(letter if letter.isalnum() else "_" for letter in Path(value).name)[:40] or "data")
    return run_of(path) / "evaluation" / "-".join(parts)


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=COMMAND.format_help))
