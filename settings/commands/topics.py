"""What `explore.py do=TOPIC` can look at: each topic's own keys, their ranges and what it writes.

A table that can be read, by the standard library alone: help and mistakes are answered from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from settings.commands.keys import Key, positive, share, whole


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One thing to look at.

    Attributes:
        meaning: for the help page.
        suffix: ending of the file that `output` names.
        writes: what that file is.
        keys: the topic's own keys, beside `do` and `output`.
        trains: whether batches are drawn as in training, so that lines a data set forbids matter.
        example: a command line.
    """

    meaning: str
    suffix: str
    writes: str
    keys: dict[str, Key] = field(default_factory=dict)
    trains: bool = False
    example: str


def rates(text: str) -> list[float]:
    """Two to eight learning rates, comma-separated; none twice."""
    try:
        values = [positive(part) for part in text.strip("[]").split(",")]
    except ValueError:
        values = []
    if not 2 <= len(values) <= 8 or len(set(values)) != len(values):
        raise ValueError("must be 2 to 8 different rates above 0, such as 0.1,0.01,0.001")
    return values


def nets(text: str) -> list[str]:
    """Names of nets, comma-separated, each known; none twice."""
    from settings.schema import names

    listed = [part.strip() for part in text.strip("[]").split(",")]
    for name in listed:
        if names.source_of(name) is None:
            raise ValueError(names.unknown_net(name))
    return list(dict.fromkeys(listed))


IMAGES = Key(meaning="columns: training images of one batch, 2 to 32 (8)", read=whole(2, 32), default=8)
DRAWS = Key(meaning="rows below the originals: training steps, 1 to 32 (4)", read=whole(1, 32), default=4)
SUBJECT = {
    "pixels": Key(
        meaning="side of the images, 1 to 4096 (the data's where data= is named, else 224, own nets 32)",
        read=whole(1, 4096),
    ),
    "channels": Key(meaning="of the images, 1 to 3 (likewise; else 3)", read=whole(1, 3)),
    "classes": Key(meaning="outputs (likewise; else 1000, own nets 10)", read=whole(1, 100_000)),
}
"""What a net is built for, where there is no data."""
NETS = "lenet5,resnet20,resnet18,resnet50,vgg16,mobilenet_v2,efficientnet_b0,convnext_tiny,vit_b_16"

TOPICS: dict[str, Topic] = {
    "augment": Topic(
        meaning="contact sheet of a recipe: originals, and the same images as training sees them",
        suffix=".png",
        writes="the picture",
        keys={"images": IMAGES, "draws": DRAWS},
        trains=True,
        example="data=fashion_mnist augment=strong augment.mixup.alpha=1",
    ),
    "lr": Topic(
        meaning="learning-rate range test with a suggestion; or several rates compared in one picture",
        suffix=".png",
        writes="the picture; the numbers stand beside it as .csv",
        keys={
            "steps": Key(
                meaning="optimiser steps of the test, or of each rate that is compared, 10 to 10000 (100)",
                read=whole(10, 10_000),
                default=100,
            ),
            "lowest": Key(meaning="rate of the first step of the range test (1e-6)", read=positive, default=1e-6),
            "highest": Key(meaning="rate of its last step, at least 10 times that (10)", read=positive, default=10.0),
            "rates": Key(meaning="rates to compare instead, such as 0.1,0.01,0.001", read=rates),
        },
        trains=True,
        example="data=fashion_mnist model=lenet5 rates=0.03,0.003,0.0003",
    ),
    "batch_size": Topic(
        meaning="the largest batch that fits in memory, and images a second of each size",
        suffix=".csv",
        writes="the table",
        keys={
            "memory": Key(
                meaning="share of the free memory that may be used, on the CPU (0.8)", read=share, default=0.8
            ),
            "largest": Key(meaning="the largest batch to try (4096)", read=whole(1, 1_000_000), default=4096),
            "steps": Key(meaning="timed steps of each size, 2 to 1000 (5)", read=whole(2, 1000), default=5),
            "seconds": Key(meaning="no larger batch is tried after this time (60)", read=positive, default=60.0),
        },
        trains=True,
        example="data=fashion_mnist model=resnet20 augment=standard",
    ),
    "data": Topic(
        meaning="data set check; with model= and weights, how its classes separate, and what to try first",
        suffix=".json",
        writes="all findings",
        keys={
            "sample": Key(
                meaning="training images that the features are compared on, 50 to 20000 (1000)",
                read=whole(50, 20_000),
                default=1000,
            )
        },
        example="data=folder data.root=photos model=resnet18",
    ),
    "nets": Topic(
        meaning="comparison table of nets: parameters, MACs, size, latency, accuracy of the runs there are",
        suffix=".csv",
        writes="the table",
        keys={
            "nets": Key(meaning="which, comma-separated (nine well-known ones)", read=nets, default=NETS.split(",")),
            "repeats": Key(meaning="timed passes of one image; 0 takes no time (5)", read=whole(0, 1000), default=5),
            **SUBJECT,
        },
        example="nets=resnet20,resnet18,mobilenet_v3_small data=fashion_mnist",
    ),
    "layers": Topic(
        meaning="one net layer by layer: output size, weights, MACs by the textbook's formulas",
        suffix=".csv",
        writes="the table",
        keys=dict(SUBJECT),
        example="model=vgg16",
    ),
}
"""What `do` can be."""


def mistakes_between(topic: str, values: dict[str, Any]) -> list[str]:
    """What no single value can tell."""
    if topic == "lr" and values["highest"] < 10 * values["lowest"]:
        return [f"highest={values['highest']:g} must be at least 10 times lowest={values['lowest']:g}"]
    return []
