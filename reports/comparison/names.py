"""What a row of a comparison is called: by what it differs in from the others of its ranking, `lenet5 · 3 seeds`."""

from __future__ import annotations

from collections.abc import Sequence

from reports.comparison.ideas import ABSENT, Idea, differing, setting
from reports.setting_values import text


def row_names(ranking: Sequence[Idea]) -> list[str]:
    """A name for each idea of one ranking: names of parts alone, other settings as `lr=0.1`, what is there as `+ema`.

    Where that is nothing it is the net; equal names get the run's behind them.
    """
    keys = differing(ranking)[0]
    names = [
        " ".join(part for key in keys if (part := _part(idea, key))) or text(setting(idea.first, "model.name"))
        for idea in ranking
    ]
    several = {name for name in names if names.count(name) > 1}
    return [
        (f"{name} ({idea.first.label})" if name in several else name) + _seeds(idea)
        for name, idea in zip(names, ranking, strict=True)
    ]


def _part(idea: Idea, key: str) -> str:
    last = key.rpartition(".")[2]
    value = setting(idea.first, key)
    if value in ("on", ABSENT, None):
        return f"+{last}" if value == "on" else ""
    return text(value) if last == "name" else f"{last}={text(value)}"


def _seeds(idea: Idea) -> str:
    return f" · {len(idea.runs)} seeds" if len(idea.runs) > 1 else ""
