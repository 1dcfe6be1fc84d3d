"""The one reader of command lines: every script but `train.py` is a table of keys, and this.

A new script is five lines and its own checks:

    1. a job, `class Explanation(Job)`, a frozen dataclass; `target: str | None = key(None, "the class")` is a key
    2. `COMMAND = Command(job=Explanation, script="explain.py", ...)`: what its help page says beside the keys
    3. `compose_jobs(words, multirun)`: `said = COMMAND.read(words, multirun)`, then what no single key can tell
    4. `said.refuse()`, and `return [Explanation(**said.values, command=list(words))]`
    5. at the script's end `launch(run, sys.argv[1:], compose_jobs=compose_jobs, help_page=COMMAND.format_help)`

Help, `--cfg job`, nearest names, types, ranges and duplicates follow from the table. Standard library only until
a mistake is looked into, so that help comes at once.
"""

# Annotations are read as types (settings/commands/keys.py): no `from __future__ import annotations` here.

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.keys import NEEDED, Key, key, keys_of
from settings.errors import UserError, nearest, shorten

if TYPE_CHECKING:
    from settings.schema.run_config import RunConfig

EVERYTHING = ("",)
"""For `overrides`: the script takes all that `train.py` takes."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One checked command line; `command` is the line as typed."""

    command: list[str] = field(default_factory=list)
    dropped_augment: tuple[str, ...] = ()
    traceback: bool = key(False, "true shows where a mistake was found")

    def to_yaml(self) -> str:
        """All values, as `--cfg job` prints them."""
        import yaml

        values = {one.name: _plain(getattr(self, one.name)) for one in fields(self) if one.name != "dropped_augment"}
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One checked command line of a script that takes all that `train.py` takes."""

    config: "RunConfig"

    @property
    def command(self) -> list[str]:
        """The overrides as typed."""
        return self.config.command

    @property
    def traceback(self) -> bool:
        """Whether the user wants to see where a mistake was found."""
        return self.config.traceback

    @property
    def dropped_augment(self) -> list[str]:
        """Lines of the recipe that the data set forbids."""
        return self.config.dropped_augment

    def to_yaml(self) -> str:
        """The text of the training configuration."""
        return self.config.to_yaml()


@dataclass
class Said:
    """What a command line says.

    Attributes:
        values: of all keys by field, defaults filled in.
        given: names of the keys that were typed.
        words: what is no `key=value`, where the script takes that.
        overrides: of the configuration of `train.py`.
        wrong: all that is wrong with it, one line each.
    """

    values: dict[str, Any] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def idle(self, names: Iterable[str], why: str) -> None:
        """Complain about keys that were typed and do nothing: `eps does nothing without attack=pgd`."""
        self.wrong += [f"command line: {name} does nothing {why}" for name in names if name in self.given]

    def refuse(self) -> None:
        """Raise UserError with all that is wrong, if anything is."""
        if self.wrong:
            raise UserError(*shorten(list(dict.fromkeys(self.wrong))))


@dataclass(frozen=True, kw_only=True)
class Command:
    """What one script takes, and its help page.

    Attributes:
        job: its dataclass; the fields made by `key` are its keys.
        script: its file.
        title: what it does, in a sentence.
        usage: what stands behind the script's name, one entry a form.
        notes: paragraphs below the keys.
        examples: command lines without `python SCRIPT`.
        ending: what the last line of a run says, and exit codes.
        overrides: sections of the configuration of `train.py` that are passed on; `EVERYTHING`, or none.
        training: what to do instead with other keys of `train.py`.
        words: what words without `=` are, in capitals; without it they are refused.
        no_grid: why -m is refused; taken where empty.
        habits: our key -> what other tools call it.
    """

    job: type
    script: str
    title: str
    usage: Sequence[str]
    notes: Sequence[str] = ()
    examples: Sequence[str]
    ending: str
    overrides: Sequence[str] = ()
    training: str = ""
    words: str = ""
    no_grid: str = ""
    habits: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> dict[str, Key]:
        """The keys that every line of this script may have."""
        return keys_of(self.job)

    def read(
        self,
        line: Sequence[str],
        multirun: bool = False,
        *,
        more: Mapping[str, Key] | None = None,
        elsewhere: Mapping[str, str] | None = None,
    ) -> Said:
        """Read a command line; mistakes are collected, none is raised.

        Args:
            line: its words.
            multirun: whether -m was typed.
            more: keys beside the job's.
            elsewhere: keys that do not fit here -> what is wrong with them.
        """
        keys = {**self.keys, **(more or {})}
        said, wrong = Said(), list[str]()
        texts: dict[str, list[str]] = {}
        rest = list(line)
        while rest:
            word = rest.pop(0)
            name, equals, text = word.partition("=")
            if equals and name in keys:
                texts.setdefault(name, []).append(text)
            elif equals and name in (elsewhere or {}):
                wrong.append((elsewhere or {})[name])
            elif self._passes_on(word, keys):
                said.overrides.append(word)
            elif word.startswith("-"):
                value = text if equals or not rest or "=" in rest[0] or rest[0].startswith("-") else rest.pop(0)
                option = name.lstrip("-").replace("-", "_")
                wrong.append(f"{word}: options are written key=value: {option}={value or 'VALUE'}")
            elif self.words and (not equals or "/" in name or Path(word).exists()):
                said.words += [word] if word.strip() else []
            else:
                wrong.append(self._not_taken(word, keys))
        if multirun and self.no_grid:
            wrong.append(f"-m is not taken: {self.no_grid}")
        for one in keys.values():
            said.values[one.field] = None if one.default is NEEDED else one.default
            if one.name in texts:
                try:
                    said.values[one.field] = one.value(texts[one.name])
                except ValueError as error:
                    wrong.append(str(error))
            elif one.default is NEEDED:
                wrong.append(needed(one))
        said.given = set(texts)
        said.wrong = [f"command line: {one}" for one in wrong]
        return said

    def _passes_on(self, word: str, keys: Mapping[str, Key]) -> bool:
        """Whether a word is for the configuration of `train.py`, which says what is wrong with it."""
        name, equals, _ = word.partition("=")
        if self.overrides != EVERYTHING:
            return name.lstrip("+~").partition(".")[0] in self.overrides
        from settings.schema.habits import habit

        if name.startswith("-"):
            return name.lstrip("-").replace("-", "_") not in keys
        own = equals and "." not in name and nearest(name, keys)
        return not own or habit(name) is not None or _of_training(name)

    def _not_taken(self, word: str, keys: Mapping[str, Key]) -> str:
        name, equals, _ = word.partition("=")
        if not equals:
            return f"{word[:80]!r}: must be key=value, such as {next(iter(keys))}={word[:80]}"
        unknown = f"unknown key {name[:60]}"
        plain = name.lstrip("+~").lower().replace("-", "_")
        meant = [own for own, words in self.habits.items() if plain in words.split()]
        if meant:
            return f"{unknown}; write {meant[0]}"
        if close := nearest(name, keys, cutoff=0.75):
            return f"{unknown}; nearest: {', '.join(close)}"
        if self.training and _of_training(name.lstrip("+~").partition(".")[0]):
            return f"{name} belongs to training; {self.training.replace('WORD', word[:80])}"
        if close := nearest(name, keys):
            return f"{unknown}; nearest: {', '.join(close)}"
        return f"{unknown}; there is: {', '.join([*keys, *(f'{section}.*' for section in self.overrides if section)])}"

    def format_help(self) -> str:
        """The help page."""
        lists = _choices(self.job)
        width = max((len(head) for head, _ in lists), default=0) + 2
        return "\n".join(
            [
                *self.format_head(),
                "Keys:",
                *key_lines(self.keys),
                *([""] if lists else []),
                *(f"  {head:<{width}}{meaning}" for head, meaning in lists),
                *self.format_tail(),
            ]
        )

    def format_head(self) -> list[str]:
        """What stands above the keys: the title and the forms of the command."""
        return [self.title, "", *(f"  python {self.script} {form}" for form in self.usage), ""]

    def format_tail(self) -> list[str]:
        """What stands below the keys: notes, examples and the ending."""
        examples = [one if self.script in one else f"python {self.script} {one}" for one in self.examples]
        notes = ["", *self.notes] if self.notes else []
        return [*notes, "", "Examples:", *(f"  {one}" for one in examples), "", self.ending]


def needed(one: Key) -> str:
    """That a key has to be given, and what it can be."""
    if one.choices:
        return f"{one.name} is needed: {' or '.join(f'{one.name}={choice}' for choice in one.choices)}"
    return f"{one.name} is needed: {one.name}={one.name.upper()}, {one.meaning}"


def key_lines(keys: Mapping[str, Key], *, indent: int = 2, width: int = 0) -> list[str]:
    """Keys for a help page, one line each."""
    width = width or max(map(len, keys)) + 2
    return [f"{' ' * indent}{name:<{width}}{one.help()}" for name, one in keys.items()]


def _choices(job: type) -> list[tuple[str, str]]:
    """`split=test` and the like, with meanings."""
    listed = [(one.name, one.metadata.get("choices")) for one in fields(job)]
    return [(f"{name}={choice}", says) for name, few in listed if few for choice, says in few.items()]


def _of_training(name: str) -> bool:
    from settings.reading.files import groups
    from settings.schema.run_config import Settings

    return name in Settings.model_fields or name in groups()


def _plain(value: Any) -> Any:
    """A value as YAML has it."""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
