"""Ranges of the arguments of our transfer modes; a mode that is not here is checked against its signature alone.

A test holds names and defaults equal to the functions'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from settings.schema import names, signatures
from settings.schema.sections import Count, Memory, Number, Section, Texts, one_or_several

Decay = Annotated[Number, Field(gt=0, le=1)]
Part = Annotated[Number, Field(gt=0, lt=1)]
StageNames = Annotated[Texts, Field(min_length=1)]


class PartialArguments(Section):  # noqa: D101
    stages: Count | Part | StageNames = 0.5
    decay: Decay = 1.0


class GradualArguments(Section):  # noqa: D101
    schedule: Literal["stages", "everything"] = "stages"
    head_epochs: Count = 2
    stage_epochs: Count = 1
    decay: Decay = 1.0


class DiscriminativeArguments(Section):  # noqa: D101
    decay: Decay = 0.7


class LoraArguments(Section):  # noqa: D101
    rank: Count = 8
    alpha: Annotated[Number, Field(gt=0)] = 16.0
    dropout: Memory = 0.0
    targets: Annotated[list[Literal["qkv", "proj"]], Field(min_length=1), BeforeValidator(one_or_several)] = [
        "qkv",
        "proj",
    ]


ARGUMENTS: dict[str, type[Section]] = {
    "scratch": Section,
    "full": Section,
    "head_only": Section,
    "partial": PartialArguments,
    "gradual": GradualArguments,
    "discriminative": DiscriminativeArguments,
    "lora": LoraArguments,
}


def convert(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Checked arguments as the mode's function wants them."""
    if name in ARGUMENTS:
        return ARGUMENTS[name].model_validate(dict(arguments)).model_dump()
    return signatures.convert(names.transfer_modes()[name], arguments)
