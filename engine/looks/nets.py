"""Nets side by side: size, work, speed here, and what runs of them reached."""

from collections.abc import Callable

from engine.data_and_task import load_data
from engine.looks.results import write_table
from settings.commands.explore import Exploration


def look(job: Exploration) -> None:
    """A row a net: size, work, time of one image here, and the test accuracy of the runs there are."""
    from models.analysis.net_table import NETS_HEADER, net_row
    from reports.comparison.accuracies import accuracies_of_nets
    from reports.terminal import print_table, progress
    from settings.runs import all_runs, rooted

    named = job.config.data.name if job.names_data else None
    reached = accuracies_of_nets(all_runs(rooted(job.config.paths.runs)), data=named)
    built_for, repeats = subject(job), job.own.repeats
    rows = [
        net_row(name, built_for(name), repeats=repeats, accuracy=reached.get(name, ""))
        for name in progress(job.own.nets, "nets", total=len(job.own.nets))
    ]
    print_table(NETS_HEADER, rows)
    print("latency: one image on the CPU, median; accuracy: mean of the runs, and how many")
    write_table(job.output, NETS_HEADER, rows)
    print(f"table: {job.output}", flush=True)


def subject(job: Exploration) -> Callable[[str], dict[str, int]]:
    """What nets are built for: the job's own keys, else the data that is named, else what is usual for the net."""
    from models.build import net_input
    from settings.schema.names import source_of

    config = job.config
    keys = {"num_classes": "classes", "in_channels": "channels", "image_size": "pixels"}
    given = {key: getattr(job.own, short) for key, short in keys.items() if getattr(job.own, short)}
    data = load_data(config) if job.names_data else None

    def built_for(name: str) -> dict[str, int]:
        source = source_of(name)
        classes, channels, side = (10, 3, 32) if source == "own" else (1000, 3, 224)
        if data:
            classes, channels, side = len(data.class_names), data.channels, data.image_size
        sizes = net_input(name=name, source=source).image_sizes
        side = config.data.image_size or (side if sizes is None or side in sizes else sizes[0])
        return {"num_classes": classes, "in_channels": channels, "image_size": side, **given}

    return built_for
