"""The probabilities that each member gives to each image, in one process or several."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.scored_runs import Member, output_folder
from settings.commands.evaluate import Evaluation

if TYPE_CHECKING:
    from torch import Tensor

    from reports.evaluation import Probabilities
    from reports.robustness import Robustness
    from settings.schema.run_config import RunConfig


def prepare_for(images: Any, member: Member, job: Evaluation, views: str) -> Any:
    """What cuts the views of a batch as this member reads them."""
    return images.cutting(
        views=views,
        preprocessing=member.run.preprocessing,
        crop_fraction=job.crop_fraction,
        scales=job.scales,
    )


def score(
    job: Evaluation,
    members: Sequence[Member],
    images: Any,
    *,
    batch_size: int,
    device: Any,
    processes: Any,
) -> dict[tuple[int, str], "Probabilities"]:
    """Probabilities of every member, by (its number, views): those that were asked for, and the centre beside them."""
    import torch

    from engine.scoring_processes import wait_for
    from reports.evaluation import gathered
    from reports.terminal import progress

    wanted = [(number, views) for number in range(len(members)) for views in dict.fromkeys(("centre", job.views))]
    prepare = {f"{number} {views}": prepare_for(images, members[number], job, views) for number, views in wanted}
    rows: dict[tuple[int, str], list[tuple[Tensor, Tensor]]] = {one: [] for one in wanted}
    seconds = dict.fromkeys(wanted, 0.0)
    with torch.inference_mode():
        batches = images.batches(
            prepare, batch_size=batch_size, device=device, rank=processes.rank, world=processes.world
        )
        own = -(-len(images) // batch_size // processes.world)
        for batch in progress(batches, "scoring, batches", total=own):
            for number, views in wanted:
                wait_for(device)
                start = time.perf_counter()
                probs = members[number].net(batch.views[f"{number} {views}"]).cpu().double()
                seconds[number, views] += time.perf_counter() - start
                rows[number, views].append((batch.indices, probs))
    return {one: gathered(processes.gather(rows[one]), processes.gather(seconds[one])) for one in wanted}


def readable(images: Any, read: "Tensor") -> tuple[Any, list[str]]:
    """The images that were scored, and the paths of the files that could not be read; says how many they are."""
    if len(read) == len(images):
        return images, []
    rest, there = images.only(read), set(read.tolist())
    lacking = [path for index, path in enumerate(images.paths) if index not in there]
    print(f"left out {len(lacking)} files that cannot be read, such as {lacking[0]}", flush=True)
    return rest, lacking


def write_scores(
    job: Evaluation,
    config: "RunConfig",
    data: Any,
    images: Any,
    members: Sequence[Member],
    *,
    described: Sequence[Mapping[str, Any]],
    found: Mapping[tuple[int, str], "Probabilities"],
    robustness: "Robustness | None",
) -> dict[str, float]:
    """Write what was found, and what was scored; return the metrics."""
    from engine.run_folder import results_folder
    from reports.evaluation import write_evaluation
    from settings.runs import rooted

    root = config.data.root
    images, unreadable = readable(images, found[0, "centre"].indices)
    known, occurring = members[0].run.class_names, set(images.targets.tolist())
    places = zip(data.class_names, images.places, strict=True)
    first = prepare_for(images, members[0], job, "centre")
    return write_evaluation(
        results_folder(output_folder(job, members)),
        split=job.split,
        views=job.views,
        images=images,
        class_names=known,
        found=found,
        facts={
            "data": {"name": config.data.name, "root": None if root is None else str(rooted(root))},
            "data_fingerprint": data.fingerprint(),
            "classes_of_the_data": {name: None if place is None else known[place] for name, place in places},
            "classes_without_images": [name for place, name in enumerate(known) if place not in occurring],
            "left_out_images": images.left_out,
            "members": list(described),
            "unreadable_files": unreadable,
        },
        pictures=lambda indices: images.pictures(first, indices),
        robustness=robustness,
        bootstrap=job.bootstrap,
        seed=job.seed,
        hardest=job.hardest,
        command=job.command,
    )
