"""What is explained: a net, some images, and of each the class and what of the outputs speaks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from models.analysis.grid import Grid, last_grid


@dataclass(kw_only=True)
class Subject:
    """A net and N images.

    Attributes:
        net: maps `images` to outputs.
        name: what the net is called.
        class_names: K names.
        images: float (N, C, S, S), normalised.
        pictures: the same before, uint8 (N, C, S, S).
        keys: what the images are called.
        kinds: why each was chosen; empty where the user named them.
        truths: what is true of each, in words; empty where nobody knows.
        classes: the class that is explained, int64 (N,).
        probabilities: of it, float (N,).
        wanted: what of the outputs speaks for it (`models/analysis/wanted_score.py`).
        layer: name of the module to read, where the user says so.
    """

    net: nn.Module
    name: str
    class_names: Sequence[str]
    images: Tensor
    pictures: Tensor
    keys: Sequence[str]
    kinds: Sequence[str]
    truths: Sequence[str]
    classes: Tensor
    probabilities: Tensor
    wanted: Tensor
    layer: str | None = None

    @cached_property
    def grid(self) -> Grid:
        """The layer that class activation maps read.

        Raises:
            UserError: the net has none.
        """
        return last_grid(self.net, self.images[:2], name=self.name, layer=self.layer)

    @property
    def said(self) -> list[str]:
        """The class of each image and its probability."""
        return [
            f"{self.class_names[label]} {probability:.0%}"
            for label, probability in zip(self.classes.tolist(), self.probabilities.tolist(), strict=True)
        ]
