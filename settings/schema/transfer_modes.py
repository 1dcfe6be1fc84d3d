"""Checks the section `transfer`: there is such a mode, and it takes these arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from settings.errors import unknown
from settings.schema import names, signatures
from settings.schema.mistakes import wrong_values
from settings.schema.sections import Transfer
from settings.schema.transfer_arguments import ARGUMENTS
from settings.schema.unknown_key import unknown_key


def mistakes(transfer: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What the mode of the section `transfer` would not take of it."""
    name, modes = transfer.get("name"), names.transfer_modes()
    if not isinstance(name, str):
        return  # the schema reports it
    if name not in modes:
        yield ("transfer", "name"), f": {unknown('mode', name, modes)}; modes are rows of models/transfer.py"
        return
    given = {key: value for key, value in transfer.items() if key not in Transfer.model_fields}
    if name not in ARGUMENTS:
        known = [*Transfer.model_fields, *signatures.names(modes[name])]
        for key, text in signatures.mistakes(modes[name], given):
            keys = ("transfer", key)
            yield keys, unknown_key(keys, siblings=known, choice=name) if text is None else text
        return
    try:
        ARGUMENTS[name].model_validate(given)
    except ValidationError as error:
        found: list[dict[str, Any]] = [dict(one) for one in error.errors()]
        for one in found:
            if one["type"] == "extra_forbidden":
                keys = ("transfer", str(one["loc"][0]))
                siblings = [*ARGUMENTS[name].model_fields, *Transfer.model_fields]
                yield keys, unknown_key(keys, siblings=siblings, choice=name)
        for inner, text in wrong_values(found, given).items():
            yield ("transfer", *inner), text
