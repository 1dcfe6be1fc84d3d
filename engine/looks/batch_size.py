"""The largest batch that fits, and how fast each size is."""

from engine.data_and_task import build_data, build_task, choose_precision
from engine.looks.results import train_line, write_table
from settings.commands.explore import Exploration
from settings.errors import UserError


def look(job: Exploration) -> None:
    """The largest batch that fits, and the speed of each size that was tried; a table."""
    from engine.batch_finder import largest_batch, recommended, sizes_said
    from engine.trial import device_of
    from reports.terminal import working

    config, own = job.config, job.own
    data, preprocessing = build_data(config)
    task = build_task(config, data, preprocessing)
    choose_precision(config, data, task)
    arguments = config.trainer.lightning_arguments()
    images, device = len(data.splits["train"]), device_of(arguments)
    with working("trying batch sizes"):
        sizes, limit = largest_batch(
            task,
            data,
            images=min(images, own.largest),
            share=own.memory,
            steps=own.steps,
            seconds=own.seconds,
            arguments=arguments,
            device=device,
        )
    print("\n".join(sizes_said(sizes, limit=limit, images=images, device=device)))
    if not sizes[0].fits:
        raise UserError(
            f"data.batch_size: {sizes[0].batch_size} images do not fit on {device.type}; take a smaller net"
        )
    found = {"data.batch_size": str(recommended(sizes, images).batch_size)}
    print("the learning rate belongs to the batch size; find it anew with do=lr")
    print(f"to type: {train_line(config, **found)}")
    rows = [(one.batch_size, one.fits, one.run, one.speed or "", one.seconds or "", one.memory or "") for one in sizes]
    write_table(job.output, ("batch_size", "fits", "run", "images_per_second", "step_seconds", "memory_bytes"), rows)
    print(f"numbers: {job.output}", flush=True)
