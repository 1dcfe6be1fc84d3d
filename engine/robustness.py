"""Accuracy of the members' average under corruptions, attacks, transformations and covers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.class_scoring import prepare_for
from engine.scored_runs import Member
from settings.commands.evaluate import Evaluation
from settings.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from reports.robustness import Robustness


def measure_robustness(
    job: Evaluation,
    members: Sequence[Member],
    images: Any,
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

    from models.predictor import average
    from reports.robustness import Robustness, Row
    from reports.terminal import progress

    how = [member.run.preprocessing for member in members]
    wanted = images.conditions(
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
    chosen = images.part(job.robustness_images)
    prepare = {str(number): prepare_for(images, member, job, "centre") for number, member in enumerate(members)}
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
    total = -(-len(chosen) // batch_size // processes.world)
    for number, batch in enumerate(progress(batches, "robustness, batches", total=total)):
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
            start = images.starts(keys, views[0].shape[1:], seed=job.seed) if name == "pgd" else None
            attacked = attack(job, members, views[0], targets, start, name=name, eps=eps)
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
    start: "Tensor | None",
    *,
    name: str,
    eps: float,
) -> "Tensor":
    """Attack uint8 images; returns float ones in [0, 1]. Where an image starts (0 to 1) follows from its key."""
    from models.analysis.attacks import average_loss, fgsm, pgd

    pixels, loss = images.float() / 255, average_loss([member.net for member in members])
    if start is None:
        return fgsm(loss, pixels, targets, eps=eps)
    start = (2 * start.to(images.device) - 1) * eps
    # 2.5 eps over all steps, as Madry et al.: the far side of the ball can be reached from any start.
    return pgd(
        loss, pixels, targets, eps=eps, steps=job.attack_steps, step_size=2.5 * eps / job.attack_steps, start=start
    )
