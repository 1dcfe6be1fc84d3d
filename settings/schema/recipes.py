"""Checks of a recipe and of what else decides about the images that training sees."""

from __future__ import annotations

from collections.abc import Iterator, Set

from settings.schema import names, signatures
from settings.schema.run_config import Settings

Mistakes = Iterator[tuple[tuple[str, ...], str]]


def mixing(config: Settings, written: Set[str]) -> Mistakes:
    """Lines that mix share one coin, so their probabilities cannot sum to more than 1."""
    known = names.operations()
    chances = {
        name: given.get("p", 1.0)
        for name, given in config.augment.items()
        if given is not None and name in known and name not in config.data.forbid
        if signatures.class_value(known[name], "mixes")
    }
    known_chances = all(isinstance(p, int | float) and 0 <= p <= 1 for p in chances.values())
    if known_chances and sum(chances.values()) > 1 + 1e-9:
        shown = " + ".join(f"{name}.p={p:g}" for name, p in chances.items())
        yield ("augment", list(chances)[-1], "p"), f": {shown} is more than 1, and an image is mixed at most once"


def balance(config: Settings, written: Set[str]) -> Mistakes:
    """Two corrections of the same counts are one too many."""
    if config.data.balance != "none" and config.loss.class_weights == "balanced":
        key = ("loss", "class_weights") if "loss.class_weights" in written else ("data", "balance")
        yield key, ": data.balance=oversample and loss.class_weights=balanced correct the same twice; set one"


def erasing(config: Settings, written: Set[str]) -> Mistakes:
    """A compiled net cannot be looked into."""
    if config.trainer.compile and config.augment.get("adversarial_erasing") is not None:
        yield ("augment", "adversarial_erasing"), ": looks into the net, which trainer.compile=true does not let it"
