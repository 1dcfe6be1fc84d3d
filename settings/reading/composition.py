"""The files that choices stand for, merged by Hydra into plain values, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from settings.errors import unknown
from settings.reading import files
from settings.reading.files import Document, Keys
from settings.schema import loggers, loss_names, names, optimizers, schedules
from settings.schema.run_config import Settings

_CHOICE = re.compile(r"[\w\-][\w.\-]*(/[\w\-][\w.\-]*)*")
PRESETS = ("experiment", "debug")


@dataclass(frozen=True)
class Axis:
    """A group in which a name does without a file: `section` is what it stands for, None of an unknown name."""

    section: Callable[[str], Mapping[str, Any] | None]
    unknown: Callable[[str], str]


def _net_section(name: str) -> Mapping[str, Any] | None:
    """The file of the net's source, with its name."""
    source = names.source_of(name)
    if source is None:
        return None
    return {**files.read(files.FOLDER / "model" / f"{source}.yaml", source).content, "name": name}


OPEN = {
    "loss": Axis(
        lambda name: {"name": name} if name in loss_names.known() else None,
        lambda name: unknown("loss", name, loss_names.known()),
    ),
    "logger": Axis(lambda name: {"name": name} if loggers.find(name) else None, loggers.unknown),
    "model": Axis(_net_section, names.unknown_net),
    "optimizer": Axis(lambda name: optimizers.section(name) if optimizers.find(name) else None, optimizers.unknown),
    "scheduler": Axis(lambda name: {"name": name} if schedules.target(name) else None, schedules.unknown),
}
"""Group -> how a name without a YAML file of its own is found."""
SEVERAL = ("logger",)
"""Groups of which several can be chosen at once: `logger=[wandb,tensorboard]`."""


def as_choice(names: Iterable[Any]) -> str:
    """Several choices as one: what stands in one of their files stands in the section, the last one's at last."""
    names = list(map(str, names))
    return names[0] if len(names) == 1 else f"[{','.join(names)}]"


def _members(group: str, choice: str) -> list[str] | None:
    """The choices that one of `as_choice` holds; None of a plain one."""
    several = group in SEVERAL and choice.startswith("[") and choice.endswith("]")
    return choice[1:-1].split(",") if several else None


def _bare(group: str, choice: str) -> Document | None:
    """What a name without a file stands for, as a document; None if nobody knows the name."""
    section = OPEN[group].section(choice) if group in OPEN else None
    return None if section is None else Document(f"{group}={choice}", content=dict(section))


@dataclass
class Composition:
    """Plain values, where they stand, and what is wrong so far."""

    raw: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, str | None] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)  # by group; "" is train.yaml
    problems: list[str] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)  # groups whose choice could not be had

    def place(self, keys: Keys) -> str:
        """The file (and line) that sets a key: presets win over groups, groups over train.yaml."""
        for preset in reversed(PRESETS):
            document = self.documents.get(preset)
            if document is not None and keys and _has(document, keys):
                return document.place(keys)
        group = self.documents.get(keys[0]) if keys else None
        if group is not None:
            return group.place(keys[1:])
        train = self.documents.get("")
        return train.place(keys) if train is not None else "train.yaml"

    def written(self) -> Iterator[str]:
        """Dotted keys that the experiment or debug file sets itself."""
        for preset in PRESETS:
            if preset in self.documents:
                yield from (".".join(keys) for keys in self.documents[preset].lines)


def _has(document: Document, keys: Keys) -> bool:
    return any(keys[:length] in document.lines for length in range(len(keys), 1 if len(keys) > 1 else 0, -1))


def compose_groups(
    given: Mapping[str, str | None], *, task: str | None = None, root: Path | None = None
) -> Composition:
    """Merge the files of the default choices, changed by the task, an experiment, a debug preset and `given`, in order.

    What is wrong is noted in `problems`, and the default choice stands in, so that the rest can be checked.

    Args:
        given: group -> choice, as on the command line.
        task: the task that the command line names.
        root: the `data.root` that it names: a list of files may tell the task.
    """
    result = Composition()
    train = result.documents[""] = files.read(files.FOLDER / "train.yaml", "train.yaml")
    result.problems += train.problems
    defaults: dict[str, str | None] = dict.fromkeys(files.groups())
    for group, choice, _ in _entries(train, "", result.problems):
        defaults[group] = choice
    chosen = {**defaults, **given}
    for preset in PRESETS:
        choice = chosen.get(preset)
        if choice is None:
            continue
        document = _read(preset, choice, "command line" if preset in given else "train.yaml", result)
        if document is None:
            chosen[preset] = None
            continue
        result.documents[preset] = document
        before = len(result.problems)
        for group, other, overrides in _entries(document, preset, result.problems):
            if not overrides:
                _follow(group, other, document.name, result, stack=(f"{preset}/{choice}",))
            elif group not in chosen:
                result.problems.append(f"{document.name}: defaults: {unknown('group', group, files.groups())}")
            elif group in PRESETS and PRESETS.index(group) <= PRESETS.index(preset):  # it is being read already
                result.problems.append(f"{document.name}: defaults: a file of {preset} cannot choose {group}")
            elif group not in given:
                chosen[group] = other
        if len(result.problems) > before:  # Hydra could not merge it
            chosen[preset] = None
            result.replaced.add(preset)
    for group, choice in _task_defaults(chosen, result, task, root).items():
        if chosen.get(group) == defaults.get(group) and group not in given and not _chooses(group, result):
            chosen[group] = choice
    for group, choice in chosen.items():
        if group in PRESETS or choice is None:
            continue
        place = "command line" if group in given else _chooser(group, result)
        document = _follow(group, choice, place, result, stack=())
        if document is None:
            chosen[group], document = _stand_in(group, broken=choice, preferred=defaults.get(group))
        result.documents[group] = document
    result.chosen = chosen
    if not train.problems:
        result.raw = _merge(chosen, result)
        if not result.raw and any(chosen.get(preset) for preset in PRESETS):  # they may be what Hydra refuses
            result.raw = _merge({**chosen, **dict.fromkeys(PRESETS)}, result)
            result.replaced.update(PRESETS)
    if not result.raw:  # nothing can be merged: the schema's defaults stand in, to check the command line by
        result.raw = Settings().to_plain()
        result.replaced.update(files.groups())
    optimizer = result.raw.get("optimizer")
    if isinstance(optimizer, dict):  # a file may leave its rate to the signature
        result.raw["optimizer"] = {**optimizers.section(str(optimizer.get("name"))), **optimizer}
    result.raw.update({preset: chosen.get(preset) for preset in PRESETS})
    return result


def _task_defaults(
    chosen: Mapping[str, str | None], result: Composition, task: str | None, root: Path | None
) -> Mapping[str, str]:
    """Group -> choice that the task takes where nothing else is said: a segmentation's net, say."""
    for preset in reversed(PRESETS):
        named = result.documents.get(preset, Document("")).content.get("task")
        task = task or (named if isinstance(named, str) else None)
    if task is None:
        document = files.read(files.FOLDER / "data" / f"{chosen['data']}.yaml", f"data/{chosen['data']}.yaml")
        target = document.content.get("_target_")
        try:
            task = names.default_task(target, root) if isinstance(target, str) else None
        except LookupError:
            return {}  # reported as an argument of a class that is not there
    return names.task_value(str(task), "defaults") or {}


def _chooses(group: str, result: Composition) -> bool:
    """Whether an experiment or debug preset chooses a group."""
    return any(
        one == group
        for preset in PRESETS
        if preset in result.documents
        for one, _, _ in _entries(result.documents[preset], preset, [])
    )


def _stand_in(group: str, *, broken: str, preferred: str | None) -> tuple[str | None, Document]:
    """Another choice of a group, so that the keys of the command line can be checked all the same."""
    for choice in dict.fromkeys([preferred, *files.choices(group)]):
        if choice is not None and choice != broken:
            document = files.read(files.FOLDER / group / f"{choice}.yaml", f"{group}/{choice}.yaml")
            if not document.problems and "defaults" not in document.content:
                return choice, document
    return None, Document(group)


def _chooser(group: str, result: Composition) -> str:
    for preset in reversed(PRESETS):
        document = result.documents.get(preset)
        if document is not None and any(one == group for one, _, _ in _entries(document, preset, [])):
            return document.name
    return "train.yaml"


def _read(group: str, choice: str, place: str, result: Composition) -> Document | None:
    """The document of a choice; None (and a problem) if it cannot be used."""
    if members := _members(group, choice):
        documents = [_read(group, one, place, result) for one in members]
        if None in documents:
            return None
        content = {key: value for one in documents if one for key, value in one.content.items()}
        return Document(f"{group}={choice}", content={**content, "name": members})
    path = files.FOLDER / group / f"{choice}.yaml"
    document = None
    if _CHOICE.fullmatch(choice) and ".." not in choice:
        document = files.read(path, f"{group}/{choice}.yaml") if files.is_file(path) else _bare(group, choice)
    if document is None:
        axis = OPEN.get(group)
        said = axis.unknown(choice) if axis else unknown(group, choice, files.choices(group))
        result.problems.append(f"{place}: {said}")
        result.replaced.add(group)
        return None
    if document.problems:
        result.problems += document.problems
        result.replaced.add(group)
        return None
    return document


def _follow(group: str, choice: str | None, place: str, result: Composition, stack: tuple[str, ...]) -> Document | None:
    """Read a file and those that its own defaults list names; a circle is a problem, not an endless run."""
    if choice is None:
        return None
    here = f"{group}/{choice}"
    if here in stack:
        result.problems.append(f"{place}: defaults go round in a circle: {' -> '.join((*stack, here))}")
        result.replaced.add(stack[0].split("/")[0])
        return None
    if group not in files.groups():
        result.problems.append(f"{place}: defaults: {unknown('group', group, files.groups())}")
        result.replaced.add(stack[0].split("/")[0])
        return None
    document = _read(group, choice, place, result)
    if document is None:
        if stack:
            result.replaced.add(stack[0].split("/")[0])
        return None
    for inner_group, inner, overrides in _entries(document, group, result.problems):
        if overrides:
            result.problems.append(f"{document.name}: defaults: only experiment and debug files may override a group")
        elif _follow(inner_group, inner, document.name, result, stack=(*stack, here)) is None and inner:
            return None
    return document


def _entries(document: Document, parent: str, problems: list[str]) -> Iterator[tuple[str, str | None, bool]]:
    """The defaults list of a file: (group, choice, whether it overrides)."""
    listed = document.content.get("defaults", [])
    if not isinstance(listed, list):
        problems.append(f"{document.place(('defaults',))}: defaults must be a list such as [override /model: lenet5]")
        return
    for entry in listed:
        if entry == "_self_":
            continue
        if isinstance(entry, str):
            group, _, named = entry.rpartition("/")
            yield (
                (group.lstrip("/") if entry.startswith("/") else "/".join(filter(None, (parent, group)))),
                named,
                False,
            )
            continue
        key, choice = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else ("", None)
        words = str(key).split()
        group = words[-1].split("@")[0] if words else ""
        if isinstance(choice, list) and choice and group.strip("/") in SEVERAL:
            choice = as_choice(choice)
        if not words or not isinstance(choice, str | None):
            problems.append(f"{document.place(('defaults',))}: defaults: {entry!r:.60} must be GROUP: CHOICE")
            continue
        if "@" in key or group.lstrip("/").startswith("hydra"):
            problems.append(f"{document.place(('defaults',))}: defaults: {key} is not taken")
            continue
        if group.startswith("/") or not parent or (parent in PRESETS and "override" in words):
            yield group.lstrip("/"), choice, "override" in words
        else:
            yield f"{parent}/{group}", choice, "override" in words


def _merge(chosen: Mapping[str, str | None], result: Composition) -> dict[str, Any]:
    """Let Hydra merge the files; it leaves no state and no folder behind, and nothing is resolved."""
    import yaml
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    listed = {group for group, choice, _ in _entries(result.documents[""], "", []) if choice is not None}
    overrides = [f"{group}='{choice}'" for group, choice in chosen.items() if choice is not None]
    overrides += [f"~{group}" for group, choice in chosen.items() if choice is None and group in listed]
    for group, choice in chosen.items():
        if choice and choice not in files.choices(group) and group in (*OPEN, *SEVERAL):
            # As good as a file of that name, to Hydra too.
            ConfigStore.instance().store(group=group, name=choice, node=result.documents[group].content)
    try:
        with initialize_config_dir(str(files.FOLDER), job_name="lightbox", version_base="1.3"):
            merged = OmegaConf.to_container(compose("train", overrides=overrides), resolve=False)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, RecursionError) as error:
        if not result.problems:
            result.problems.append(f"configs: cannot be merged: {' '.join(str(error).split())[:200]}")
        return {}
    assert isinstance(merged, dict)
    for preset in PRESETS:
        if "hydra" in result.documents.get(preset, Document("")).content:
            result.problems.append(f"{result.documents[preset].place(('hydra',))}: Hydra's own settings are not taken")
        if merged.get(preset) is not None:
            name = result.documents[preset].name
            result.problems.append(f"{name}: its first line must be '# @package _global_', or it sets nothing")
    return names_as_text(merged)


def names_as_text(value: Any) -> Any:
    """A copy in which every key is text, as YAML also takes `1: x`."""
    if isinstance(value, Mapping):
        return {str(key): names_as_text(inner) for key, inner in value.items()}
    return [names_as_text(inner) for inner in value] if isinstance(value, list) else value
