"""A contact sheet of one recipe."""

from typing import TYPE_CHECKING

from engine.data_and_task import build_data
from engine.looks.results import write
from settings.commands.explore import Exploration

if TYPE_CHECKING:
    from settings.schema.run_config import RunConfig


def look(job: Exploration) -> None:
    """Draw one recipe: a batch of training images, and the same batch at the first training steps."""
    from models.tasks import task_class
    from reports.contact_sheet import Row, contact_sheet

    images = job.own.images
    data, _ = build_data(job.config, batch_size=images)
    original, *drawn = data.drawn_batches(data.first_images(images), draws=job.own.draws)
    task = task_class(job.config.chosen_task)
    titled = [("original", original), *((f"step {step}", batch) for step, batch in enumerate(drawn))]
    rows = [Row(name, task.labelled(*batch), batch[1]) for name, batch in titled]
    figure = contact_sheet(
        rows,
        data.class_names,
        title=f"augment: {job.recipe} on {job.config.data.name}, seed {job.config.seed}",
        notes=recipe_text(job.config),
    )
    write(job.output, lambda path: figure.savefig(path, dpi=144))
    print(f"sheet: {job.output}", flush=True)


def recipe_text(config: "RunConfig") -> str:
    """The lines of the recipe as they apply, and those that the data set forbids."""
    from settings.schema.mistakes import show

    lines = [
        "\u00a0".join([name, *(f"{key}={show(value)}" for key, value in (given or {}).items())])  # a line stays whole
        for name, given in config.augment.items()
    ]
    text = " · ".join(lines) or "no augmentation"
    if config.dropped_augment:
        text += f" · left out, as data.forbid has it: {', '.join(config.dropped_augment)}"
    return text
