"""What a run was set to, as rows of a table: what differs from the defaults first, then what every reader asks for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from reports.setting_values import INERT, INERT_SECTIONS, canonical, flat, text

ALWAYS = (
    *("task", "data.name", "data.image_size", "model.name", "transfer.name", "loss.name"),
    *("optimizer.name", "optimizer.lr", "optimizer.weight_decay", "scheduler.name"),
    *("data.batch_size", "trainer.max_epochs", "trainer.precision"),
)
"""Keys that have a row whether they differ or not; the recipe has one, too."""
COLUMNS = ("setting", "this run", "default")


def settings_rows(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of `COLUMNS`; a default that is the same stays empty.

    Args:
        config: the configuration of the run, plain and nested.
    """
    own, usual = flat(_with_recipe(config)), _defaults()
    differing = [key for key in own if key in usual and _counts(key) and canonical(own[key]) != canonical(usual[key])]
    added = [key for key in own if key not in usual and _counts(key)]
    rows = [(key, text(own[key]), text(usual.get(key, "–"))) for key in [*differing, *added]]
    same = [key for key in ("augment", *ALWAYS) if key in own and key not in differing and key not in added]
    return [*rows, *((key, text(own[key]), "") for key in sorted(same, key=_place))]


def _place(key: str) -> int:
    return ALWAYS.index(key) if key in ALWAYS else len(ALWAYS)


def _counts(key: str) -> bool:
    watches = key not in ("experiment", "seed") and (key in INERT or key.startswith(INERT_SECTIONS))
    return not watches and not key.endswith("._target_") and key != "data.forbid"


def _with_recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with its recipe in one line: `random_crop padding=4, cutout size=16`."""
    recipe = config.get("augment")
    lines = [
        " ".join([name, *(f"{key}={text(value)}" for key, value in (given or {}).items())])
        for name, given in (recipe if isinstance(recipe, Mapping) else {}).items()
    ]
    return {**config, "augment": ", ".join(lines) or "none"}


@cache
def _defaults() -> dict[str, Any]:
    """What `python train.py` alone is set to."""
    from settings.reading.compose import compose

    return flat(_with_recipe(compose([]).to_plain()))
