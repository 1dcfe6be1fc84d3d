"""Look before training: `python explore.py do=augment data=fashion_mnist augment=strong`.

`python explore.py --help` lists what there is to look at. Everything that `train.py` takes is taken here, too.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import UserError
from configs.explore import Exploration, compose_jobs, format_help
from configs.launch import launch

if TYPE_CHECKING:
    from configs.schema import RunConfig


def explore(*overrides: str) -> list[Path]:
    """Do as `python explore.py OVERRIDES` does; return the files.

    Raises:
        UserError: a mistake in the overrides, or data that is not there.
    """
    return [run(job) for job in compose_jobs(overrides, multirun=False)]


def run(job: Exploration) -> Path:
    """Draw one recipe: a batch of training images, and the same batch at the first training steps."""
    from callbacks.contact_sheet import Row, contact_sheet
    from datamodules.randomness import permutation
    from train import build_data

    data, _ = build_data(job.config, batch_size=job.images)
    chosen = permutation(len(data.splits["train"]), seed=job.config.seed, epoch=0)[: job.images]
    original, *drawn = data.drawn_batches(chosen, draws=job.draws)
    rows = [Row("original", *original), *(Row(f"step {step}", *batch) for step, batch in enumerate(drawn))]
    figure = contact_sheet(
        rows,
        data.class_names,
        title=f"augment: {job.recipe} on {job.config.data.name}, seed {job.config.seed}",
        notes=recipe_text(job.config),
    )
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(job.output, dpi=144)
    except OSError as error:
        raise UserError(f"output={job.output}: cannot be written ({error.strerror or error})") from error
    print(f"sheet: {job.output}", flush=True)
    return job.output


def recipe_text(config: "RunConfig") -> str:
    """The lines of the recipe as they apply, and those that the data set forbids."""
    from configs.mistakes import show

    lines = [
        "\u00a0".join([name, *(f"{key}={show(value)}" for key, value in (given or {}).items())])  # a line stays whole
        for name, given in config.augment.items()
    ]
    text = " · ".join(lines) or "no augmentation"
    if config.dropped_augment:
        text += f" · left out, as data.forbid has it: {', '.join(config.dropped_augment)}"
    return text


if __name__ == "__main__":
    sys.exit(launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=format_help))
