"""What `explore.py do=TOPIC` can look at: a class a topic, whose fields are the topic's own keys.

Standard library only: help and mistakes are answered from these tables.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from settings.commands.keys import key


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One thing to look at; the fields are its keys beside `do` and `output`.

    Attributes:
        meaning: for the help page.
        suffix: ending of the file that `output` names.
        writes: what that file is.
        trains: whether batches are drawn as in training, so that lines a data set forbids matter.
        example: a command line.
    """

    meaning: ClassVar[str]
    suffix: ClassVar[str] = ".csv"
    writes: ClassVar[str] = "the table"
    trains: ClassVar[bool] = False
    example: ClassVar[str]

    def mistakes(self) -> list[str]:
        """What no single key can tell."""
        return []


@dataclass(frozen=True, kw_only=True)
class Sheet(Topic):
    """A contact sheet."""

    meaning = "contact sheet of a recipe: originals, and the same images as training sees them"
    suffix = ".png"
    writes = "the picture"
    trains = True
    example = "data=fashion_mnist augment=strong augment.mixup.alpha=1"
    images: Annotated[int, "2 <= x <= 32"] = key(8, "columns: training images of one batch")
    draws: Annotated[int, "1 <= x <= 32"] = key(4, "rows below the originals: training steps")


@dataclass(frozen=True, kw_only=True)
class Rates(Topic):
    """A learning-rate range test, or rates compared."""

    meaning = "learning-rate range test with a suggestion; or several rates compared in one picture"
    suffix = ".png"
    writes = "the picture; the numbers stand beside it as .csv"
    trains = True
    example = "data=fashion_mnist model=lenet5 rates=0.03,0.003,0.0003"
    steps: Annotated[int, "10 <= x <= 10000"] = key(100, "optimiser steps of the test, or of each rate compared")
    lowest: Annotated[float, "x > 0"] = key(1e-6, "rate of the first step of the range test")
    highest: Annotated[float, "x > 0"] = key(10.0, "rate of its last step, at least 10 times that")
    rates: tuple[Annotated[float, "x > 0"], ...] = key((), "2 to 8 rates to compare instead, such as 0.1,0.01")

    def mistakes(self) -> list[str]:
        """Limits that are too close, and one rate or too many."""
        wrong = []
        if self.highest < 10 * self.lowest:
            wrong.append(f"highest={self.highest:g} must be at least 10 times lowest={self.lowest:g}")
        if self.rates and not 2 <= len(self.rates) <= 8:
            wrong.append(f"rates={','.join(f'{rate:g}' for rate in self.rates)}: must be 2 to 8 different rates")
        return wrong


@dataclass(frozen=True, kw_only=True)
class BatchSizes(Topic):
    """Batch sizes tried."""

    meaning = "the largest batch that fits in memory, and images a second of each size"
    trains = True
    example = "data=fashion_mnist model=resnet20 augment=standard"
    memory: Annotated[float, "0 < x <= 1"] = key(0.8, "share of the free memory to use, on the CPU")
    largest: Annotated[int, "1 <= x <= 1000000"] = key(4096, "the largest batch to try")
    steps: Annotated[int, "2 <= x <= 1000"] = key(5, "timed steps of each size")
    seconds: Annotated[float, "x > 0"] = key(60.0, "no larger batch is tried after this time")


@dataclass(frozen=True, kw_only=True)
class Check(Topic):
    """A data set looked at."""

    meaning = "data set check; with model= and weights, how its classes separate, and what to try first"
    suffix = ".json"
    writes = "all findings"
    example = "data=folder data.root=photos model=resnet18"
    sample: Annotated[int, "50 <= x <= 20000"] = key(1000, "training images that the features are compared on")


@dataclass(frozen=True, kw_only=True)
class Layers(Topic):
    """One net; its keys say what it is built for, where there is no data."""

    meaning = "one net layer by layer: output size, weights, MACs by the textbook's formulas"
    example = "model=vgg16"
    pixels: Annotated[int, "1 <= x <= 4096"] | None = key(
        None, "side of the images", shown="the data's if named, else 224, own nets 32"
    )
    channels: Annotated[int, "1 <= x <= 3"] | None = key(None, "of the images", shown="likewise, else 3")
    classes: Annotated[int, "1 <= x <= 100000"] | None = key(None, "outputs", shown="likewise, else 1000, own nets 10")


def _nets(text: str) -> tuple[str, ...]:
    """Names of nets, each known, each once."""
    from settings.schema import names

    listed = [part.strip() for part in text.strip("[]").split(",")]
    for name in listed:
        if names.source_of(name) is None:
            raise ValueError(names.unknown_net(name))
    return tuple(dict.fromkeys(listed))


USUAL_NETS = "lenet5,resnet20,resnet18,resnet50,vgg16,mobilenet_v2,efficientnet_b0,convnext_tiny,vit_b_16"


@dataclass(frozen=True, kw_only=True)
class Nets(Layers):
    """Nets side by side."""

    meaning = "comparison table of nets: parameters, MACs, size, latency, accuracy of the runs there are"
    example = "nets=resnet20,resnet18,mobilenet_v3_small data=fashion_mnist"
    nets: tuple[str, ...] = key(
        tuple(USUAL_NETS.split(",")), "which, comma-separated", read=_nets, shown="nine well-known ones"
    )
    repeats: Annotated[int, "0 <= x <= 1000"] = key(5, "timed passes of one image; 0 takes no time")


TOPICS: dict[str, type[Topic]] = {
    "augment": Sheet,
    "lr": Rates,
    "batch_size": BatchSizes,
    "data": Check,
    "nets": Nets,
    "layers": Layers,
}
"""What `do` can be."""
