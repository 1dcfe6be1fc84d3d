"""The command line of `explore.py`: each topic's own keys beside those of `train.py`, as strictly checked.

Standard library only until something is composed, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.keys import split_words
from settings.commands.topics import TOPICS, Topic, mistakes_between
from settings.errors import UserError, shorten, unknown

if TYPE_CHECKING:
    from settings.schema.run_config import RunConfig

SHARED = ("do", "output")
"""Keys that every topic has."""


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """One checked job: a training configuration, and what to look at in it.

    Attributes:
        config: as `train.py` would run it.
        topic: a key of `TOPICS`.
        own: the topic's own keys, defaults filled in.
        output: the file to write.
        recipe: what the augmentation is called.
    """

    config: RunConfig
    topic: str
    own: dict[str, Any]
    output: Path
    recipe: str

    @property
    def names_data(self) -> bool:
        """Whether the user says which data."""
        return any(word.startswith(("data=", "data.", "experiment=")) for word in self.command)

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
        """Lines of the recipe that the data set forbids, where they matter."""
        return self.config.dropped_augment if TOPICS[self.topic].trains else []

    def to_yaml(self) -> str:
        """The text of the training configuration."""
        return self.config.to_yaml()


def format_help() -> str:
    """The help page."""
    width = max(map(len, [*TOPICS, *(key for topic in TOPICS.values() for key in topic.keys)])) + 2
    lines = [
        "Lightbox looks before training.",
        "",
        "  python explore.py do=TOPIC [KEY=VALUE ...] [any override of train.py ...] [-m]",
        "",
        "Topics, each with its own keys and their defaults:",
    ]
    for name, topic in TOPICS.items():
        lines += ["", f"  do={name:<{width}}{topic.meaning}"]
        lines += [f"    {key:<{width}} {one.meaning}" for key, one in topic.keys.items()]
        lines += [f"    {'output':<{width}} {topic.writes} ({topic.suffix}); else in runs/explore/"]
    return "\n".join(
        [
            *lines,
            "",
            "Without augment=NAME, do=augment draws every recipe; `python train.py --help` lists the other keys.",
            "",
            "Examples:",
            *(f"  python explore.py do={name} {topic.example}" for name, topic in TOPICS.items()),
            "",
            "The last lines name the files. Exit codes: 0 done, 1 a bug, 2 configuration or data.",
        ]
    )


def compose_jobs(overrides: Sequence[str], multirun: bool) -> list[Exploration]:
    """All checked jobs: one, or one a recipe (do=augment), or one a job of the grid.

    Raises:
        UserError: all mistakes together, in the script's own keys and in the configuration.
    """
    from settings.reading import compose

    given, rest, wrong = _own_keys(overrides)
    own, found = _checked(given)
    wrong += found
    configs: list[RunConfig] = []
    refused: list[UserError] = []
    for words in _variants(given.get("do", ""), rest):
        try:
            configs += compose.compose_jobs(words, multirun)
        except UserError as error:
            refused.append(error)
    if wrong or not configs:
        messages = [*wrong, *(message for error in refused[:1] for message in error.messages)]
        raise UserError(*shorten(messages))
    for refusal in refused:  # a recipe that is not for this data set
        print("\n".join(f"left out: {message}" for message in refusal.messages), flush=True)
    return _jobs(configs, given["do"], own)


def _own_keys(overrides: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Split the command line: the topic's own keys, the overrides, mistyped keys and keys of other topics."""
    named = [word.partition("=")[2] for word in overrides if word.startswith("do=")]
    topic = TOPICS.get(named[-1]) if named else None
    every = dict.fromkeys(key for one in TOPICS.values() for key in one.keys)
    ours = [*SHARED, *(topic.keys if topic else every)]
    others = {}
    for key in every.keys() - set(ours):
        owners = " and ".join(f"do={name}" for name, one in TOPICS.items() if key in one.keys)
        others[key] = f"{key} is a key of {owners}; do={named[-1]} has {', '.join(ours[1:])}"
    return split_words(overrides, ours, others)


def _checked(given: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Values of the own keys, defaults filled in, and what is wrong with them."""
    wrong: list[str] = []
    topic = TOPICS.get(given.get("do", ""))
    if "do" not in given:
        wrong.append(f"do is needed: do={' or do='.join(TOPICS)}")
    elif topic is None:
        wrong.append(unknown("do", given["do"], TOPICS))
    keys = topic.keys if topic else {key: one for each in TOPICS.values() for key, one in each.keys.items()}
    own: dict[str, Any] = {"output": None, **{key: one.default for key, one in keys.items()}}
    for key, one in keys.items():
        if key in given:
            try:
                own[key] = one.read(given[key])
            except ValueError as error:
                wrong.append(f"{key}={given[key][:40]}: {error}")
    if topic and not wrong:
        wrong += mistakes_between(given["do"], own)
    if topic and (output := given.get("output")) is not None:
        own["output"], found = _output(output, topic)
        wrong += found
    return own, [f"command line: {one}" for one in wrong]


def _output(text: str, topic: Topic) -> tuple[Path, list[str]]:
    path = Path.cwd() / Path(text).expanduser()
    if path.suffix.lower() != topic.suffix or "\0" in text:
        return path, [f"output={text[:80]!r}: must be a file that ends in {topic.suffix}"]
    if path.is_dir():
        return path, [f"output={text[:80]!r}: is a folder; name a file in it"]
    return path, []


def _variants(topic: str, rest: list[str]) -> list[list[str]]:
    """The command lines to compose: do=augment takes every recipe where none is named."""
    words = [word.lstrip("+~") for word in rest]
    if topic == "data":
        return [[*rest, "transfer=full"] if _asks_for_weights(words) else rest]
    named = any(word.startswith(("augment", "experiment=", "debug=", "resume=")) for word in words)
    if topic != "augment" or named:
        return [rest]
    return [[*rest, f"augment={choice}"] for choice in _recipes()]


def _asks_for_weights(words: list[str]) -> bool:
    """Whether do=data shall look at pretrained features: a library's net, or weights, and no mode are named."""
    from settings.schema import names

    given = dict(word.partition("=")[::2] for word in words)
    if {"transfer", "experiment", "resume"} & set(given):
        return False
    net = given.get("model.name", given.get("model", ""))
    named = names.source_of(net) in names.LIBRARIES and given.get("model.weights") != "none"
    return named or given.get("model.weights", "none") != "none" or given.get("model.pretrained") == "true"


def _recipes() -> list[str]:
    """All recipes that change an image, the gentle ones first."""
    from settings.reading import files

    order = ["light", "standard", "strong"]
    there = [choice for choice in files.choices("augment") if choice != "none"]
    return [*(one for one in order if one in there), *(one for one in there if one not in order)]


def _jobs(configs: Sequence[RunConfig], topic: str, own: dict[str, Any]) -> list[Exploration]:
    """Name the files: none twice."""
    from settings.runs import rooted

    jobs: list[Exploration] = []
    taken: set[Path] = set()
    for config in configs:
        choices = [word.partition("=")[2] for word in config.command if word.startswith("augment=")]
        recipe = choices[-1] if choices else config.experiment or "recipe"
        about = recipe if topic == "augment" else config.model.name
        alone = topic == "data" and config.model.weights == "none"  # the net is of no account
        name = f"{topic}-{config.data.name}{'' if alone else f'-{about}'}{TOPICS[topic].suffix}"
        if topic in ("nets", "layers"):  # whose data may be nobody's
            name = f"{topic}{f'-{about}' if topic == 'layers' else ''}.csv"
        output = own["output"] or rooted(config.paths.runs) / "explore" / name
        if own["output"] and len(configs) > 1:
            output = output.with_stem(f"{output.stem}-{about}")
        plain = output
        for number in range(2, len(configs) + 2):
            if output not in taken:
                break
            output = plain.with_stem(f"{plain.stem}-{number}")
        taken.add(output)
        options = {key: value for key, value in own.items() if key != "output"}
        jobs.append(Exploration(config=config, topic=topic, own=options, output=output, recipe=recipe))
    return jobs
