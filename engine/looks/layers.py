"""One net layer by layer."""

from engine.looks.nets import subject
from engine.looks.results import write_table
from settings.commands.explore import Exploration


def look(job: Exploration) -> None:
    """A row a layer of the net, by formula, checked against torch's flop counter."""
    from models.analysis.counting import layers
    from models.analysis.net_table import LAYERS_HEADER, layer_rows, layers_said, without_values
    from reports.terminal import print_table

    model = job.config.model
    net, image = without_values(
        name=model.name, source=model.source, arguments=model.net_arguments(), **subject(job)(model.name)
    )
    found = layers(net, image)
    rows = layer_rows(found)
    print_table(LAYERS_HEADER[:-1], [row[:-1] for row in rows])
    print("\n".join(layers_said(model.name, net, image, found)))
    write_table(job.output, LAYERS_HEADER, rows)
    print(f"table: {job.output}", flush=True)
