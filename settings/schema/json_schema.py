"""A JSON schema of configs/, so that an editor completes keys and marks mistakes: `python train.py --schema`.

Made from the sections as they are and from the signatures of what they name; descriptions are the comments of the YAML
files. The whole is that of train.yaml, experiments and debug presets; `#/$defs/GROUP` is that of a group's files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from settings.ranges import limits
from settings.reading import files
from settings.reading.composition import OPEN, SEVERAL
from settings.schema import checks, loggers, loss_names, names, optimizers, schedules, sections, signatures
from settings.schema.run_config import Settings

Schema = dict[str, Any]
_BOUNDS = {">": "exclusiveMinimum", ">=": "minimum", "<": "exclusiveMaximum", "<=": "maximum"}
_PYDANTICS = {"gt": _BOUNDS[">"], "ge": _BOUNDS[">="], "lt": _BOUNDS["<"], "le": _BOUNDS["<="], "oneOf": "anyOf"}
"""What pydantic calls things -> what a schema calls them. A part of a section may fit several choices: anyOf."""
_TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
_OR_NONE: Schema = {"type": ["object", "null"]}
_ALSO: dict[Any, list[Schema]] = {
    sections.switch: [{"type": "boolean"}],
    signatures.one_or_several: [{"type": "string"}],
    sections.by_name: [{"type": "string"}, _TEXTS, {"type": "object", "additionalProperties": _OR_NONE}],
}
"""A function that a value goes through before it is checked -> what else it takes."""
_COMMENT = re.compile(r"^(\w+):(?: .*?)?  ?# (.+)$", re.MULTILINE)


class Axis(NamedTuple):
    """A section that takes the arguments of what it names.

    Attributes:
        key: which of its keys names it.
        targets: name -> the class or function, in dots.
        filled_in: arguments that are not the user's.
        closed: whether no other name takes arguments of its own.
    """

    key: str
    targets: Mapping[str, str]
    filled_in: frozenset[str] = frozenset()
    closed: bool = True


def axes() -> dict[str, Axis]:
    """Group -> what its choices take."""
    written = (files.read(files.FOLDER / "data" / f"{one}.yaml", one).content for one in files.choices("data"))
    data = {one["_target_"]: one["_target_"] for one in written if "_target_" in one}
    losses = {name: loss_names.target(name) for name in loss_names.known()}
    own = {name: target for name in optimizers.own() if (target := optimizers.target(name))}
    shapes = {name: target for name in schedules.own() if (target := schedules.target(name))}
    trackers = {name: found.target for name in loggers.own() if (found := loggers.find(name))}
    return {
        "data": Axis("_target_", data, checks.FILLED_IN, closed=False),
        "model": Axis("name", {name: names.net_target(name) for name in names.nets()}, names.FILLED_IN_OWN_NETS),
        "transfer": Axis("name", names.transfer_modes()),
        "loss": Axis("name", losses, loss_names.FILLED_IN),
        "optimizer": Axis("name", own, optimizers.FILLED_IN, closed=False),
        "scheduler": Axis("name", shapes, schedules.FILLED_IN),
        "logger": Axis("name", trackers, loggers.FILLED_IN, closed=False),
    }


def json_schema() -> Schema:
    """The whole schema (draft 7), as plain values."""
    whole = _plain(Settings.model_json_schema(schema_generator=_Generator))
    properties, definitions = whole["properties"], whole["$defs"]
    properties["augment"] = _recipe()
    groups = [group for group in files.groups() if group not in ("experiment", "debug")]
    for group in groups:
        section = _resolved(properties[group], definitions)
        section.pop("required", None)  # a file may leave a key to the others
        if axis := axes().get(group):
            section |= _arguments(section["properties"], axis)
        for option in section.get("anyOf", [section]):
            _resolved(option, definitions).setdefault("properties", {})["defaults"] = {"$ref": "#/$defs/defaults"}
        definitions[group] = section
        properties[group] = {"$ref": f"#/$defs/{group}"}
        _describe(section, definitions, (files.FOLDER / group / f"{one}.yaml" for one in files.choices(group)))
    properties["defaults"] = {"$ref": "#/$defs/defaults"}
    definitions["defaults"] = _defaults()
    _describe(whole, definitions, [files.FOLDER / "train.yaml"])
    used = {group: definitions.pop(group) for group in groups}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "written by: python train.py --schema > configs/train.schema.json",
        **whole,
        "$defs": {**used, **definitions},
    }


class _Generator(GenerateJsonSchema):
    """pydantic's, with the ranges of signatures, and with what validators take beside the type."""

    def function_before_schema(self, schema: Any) -> Schema:
        inner = super().function_before_schema(schema)
        also = _ALSO.get(schema["function"]["function"], [])
        return {"anyOf": [inner, *also]} if also else inner

    def function_after_schema(self, schema: Any) -> Schema:
        inner = super().function_after_schema(schema)
        notes = getattr(schema["function"]["function"], "args", ())  # of a range's check, its note
        return {**inner, **{_BOUNDS[sign]: limit for note in notes for sign, limit in limits(note)}}


def _plain(node: Any, *, is_names: bool = False) -> Any:
    """Standard words alone; no titles, and no defaults but plain ones: those of a path are this machine's.

    Args:
        node: a part of the schema.
        is_names: whether its keys are names of the configuration.
    """
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, dict):
        return node
    if is_names:
        return {name: _plain(inner) for name, inner in node.items()}
    dropped = {"title", "discriminator"}
    if isinstance(node.get("default"), dict) or "path" in str(node.get("format")):
        dropped.add("default")
    return {
        _PYDANTICS.get(word, word): _plain(inner, is_names=word in ("properties", "$defs"))
        for word, inner in node.items()
        if word not in dropped
    }


def _resolved(node: Schema, definitions: Schema) -> Schema:
    name = node.get("$ref", "").removeprefix("#/$defs/")
    return definitions[name] if name else node


def _arguments(known: Schema, axis: Axis) -> Schema:
    """Which further keys a section takes, by what it names; those of all choices where it names none."""
    own = {name: _signature(target, axis.filled_in | set(known)) for name, target in axis.targets.items()}
    every: dict[str, list[Schema]] = {}
    for arguments in own.values():
        for key, schema in arguments.items():
            if schema not in every.setdefault(key, []):
                every[key].append(schema)
    united = {key: found[0] if len(found) == 1 else {"anyOf": found} for key, found in every.items()}
    keys = [*known, "defaults"]
    rules = [
        {
            "if": {"properties": {axis.key: {"const": name}}, "required": [axis.key]},
            "then": {"properties": arguments, "propertyNames": {"enum": [*keys, *arguments]}},
        }
        for name, arguments in own.items()
    ]
    rules.append(
        {
            "if": {"not": {"required": [axis.key]}},
            "then": {"properties": united, "propertyNames": {"enum": [*keys, *united]}},
        }
    )
    if axis.closed:
        other = {"properties": {axis.key: {"not": {"enum": list(own)}}}, "required": [axis.key]}
        rules.append({"if": other, "then": {"propertyNames": {"enum": keys}}})
    return {"allOf": rules}


def _signature(target: str, ours: Iterable[str]) -> dict[str, Schema]:
    """Argument -> its schema."""
    found = (signatures.parameters(target) or {}).values()
    return {one.name: _plain(_of_type(one.annotation)) for one in found if one.name not in ours}


def _of_type(annotation: Any) -> Schema:
    return TypeAdapter(annotation, config=signatures.STRICT).json_schema(schema_generator=_Generator)


def _recipe() -> Schema:
    """The section `augment`: operations of ours with their arguments, and albumentations' classes."""
    lines = {}
    for name, target in names.operations().items():
        arguments = _signature(target, checks.FILLED_IN_OPERATIONS)
        lines[name] = {"type": ["object", "null"], "properties": arguments, "additionalProperties": False}
    return {
        "type": "object",
        "properties": lines,
        "patternProperties": {"^[A-Z]": _OR_NONE},
        "additionalProperties": False,
    }


def _defaults() -> Schema:
    """A defaults list: each group with its choices; of some a name needs no file of its own."""
    entries: Schema = {}
    for group in files.groups():
        choice: Schema = {"enum": [*files.choices(group), None]}
        choice = {"anyOf": [choice, {"type": "string"}]} if group in OPEN else choice
        if group in SEVERAL:
            choice["anyOf"].append(_TEXTS)
        entries |= {head + group: choice for head in ("", "/", "override /")}
    entry = {"type": "object", "properties": entries, "additionalProperties": False, "maxProperties": 1}
    return {"type": "array", "items": {"anyOf": [{"type": "string"}, entry]}}


def _describe(section: Schema, definitions: Schema, paths: Iterable[Path]) -> None:
    """Give keys the comments that stand behind them in YAML files as descriptions, where all files say the same."""
    found: dict[int, tuple[Schema, set[str]]] = {}
    for path in paths:
        comments = _COMMENT.findall(path.read_text(encoding="utf-8"))
        for properties in _tables(section, definitions, set(map(str, files.read(path, path.name).content.values()))):
            for key, said in comments:
                if key in properties:
                    found.setdefault(id(properties[key]), (properties[key], set()))[1].add(said)
    for schema, texts in found.values():
        if len(texts) == 1:
            schema["description"] = texts.pop()


def _tables(section: Schema, definitions: Schema, named: Set[str]) -> Iterator[Schema]:
    """Tables of keys of a section: its own, and those of the choices that a file names."""
    yield section.get("properties", {})
    for option in section.get("anyOf", []):
        properties = _resolved(option, definitions).get("properties", {})
        name = properties.get("name", {})
        if named & {name.get("const"), *name.get("enum", ())}:
            yield properties
    for rule in section.get("allOf", []):
        if any(one.get("const") in named for one in rule["if"].get("properties", {}).values()):
            yield rule["then"]["properties"]
