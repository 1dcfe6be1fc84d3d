"""The command line of `explore.py`: each topic's own keys beside those of `train.py`, as strictly checked.

Standard library only until something is composed, so that help comes at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.command import EVERYTHING, Command, Said, TrainingJob, key_lines
from settings.commands.keys import NEEDED, file_mistakes, key, keys_of
from settings.commands.topics import TOPICS, Topic
from settings.errors import UserError

if TYPE_CHECKING:
    from settings.schema.run_config import RunConfig


@dataclass(frozen=True, kw_only=True)
class Exploration(TrainingJob):
    """One checked job: a training configuration, and what to look at in it.

    Attributes:
        own: the topic's own keys, an instance of its class in `TOPICS`.
        recipe: what the augmentation is called.
    """

    do: str = key(NEEDED, "what to look at", choices={name: topic.meaning for name, topic in TOPICS.items()})
    output: Path = key(None, "the file to write; else one in runs/explore/")
    own: Any  # the topic's class is known by `do`
    recipe: str

    @property
    def names_data(self) -> bool:
        """Whether the user says which data."""
        return any(word.startswith(("data=", "data.", "experiment=")) for word in self.command)

    @property
    def dropped_augment(self) -> list[str]:
        """Lines of the recipe that the data set forbids, where they matter."""
        return self.config.dropped_augment if TOPICS[self.do].trains else []


COMMAND = Command(
    job=Exploration,
    script="explore.py",
    title="Lightbox looks before training.",
    usage=["do=TOPIC [KEY=VALUE ...] [any override of train.py ...] [-m]"],
    notes=["Without augment=NAME, do=augment draws every recipe; `python train.py --help` lists the other keys."],
    examples=[f"do={name} {topic.example}" for name, topic in TOPICS.items()],
    ending="The last lines name the files. Exit codes: 0 done, 1 a bug, 2 configuration or data.",
    overrides=EVERYTHING,
)


def format_help() -> str:
    """The help page: the keys topic by topic."""
    width = max(map(len, TOPICS)) + 2
    lines = ["Topics, each with its own keys:"]
    for name, topic in TOPICS.items():
        lines += [
            "",
            f"  do={name:<{width}}{topic.meaning}",
            *key_lines(keys_of(topic), indent=4, width=width + 1),
        ]
        lines.append(f"    {'output':<{width}} {topic.writes} ({topic.suffix}); else in runs/explore/")
    return "\n".join([*COMMAND.format_head(), *lines, *COMMAND.format_tail()])


def compose_jobs(overrides: Sequence[str], multirun: bool) -> list[Exploration]:
    """All checked jobs: one, or one a recipe (do=augment), or one a job of the grid.

    Raises:
        UserError: all mistakes together, in the script's own keys and in the configuration.
    """
    from settings.reading import compose

    said = _read(overrides, multirun)
    topic = said.values["do"] or ""
    configs: list[RunConfig] = []
    refused: list[UserError] = []
    for words in _variants(topic, said.overrides):
        try:
            configs += compose.compose_jobs(words, multirun)
        except UserError as error:
            refused.append(error)
    if not configs:
        said.wrong += refused[0].messages
    said.refuse()
    for refusal in refused:  # a recipe that is not for this data set
        print("\n".join(f"left out: {message}" for message in refusal.messages), flush=True)
    return _jobs(configs, topic, said.values)


def _read(overrides: Sequence[str], multirun: bool) -> Said:
    """What the words say, with the keys of the topic; of all topics where none is named."""
    named = next((word.removeprefix("do=") for word in overrides if word.startswith("do=")), "")
    every = {name: one for topic in TOPICS.values() for name, one in keys_of(topic).items()}
    own = keys_of(TOPICS[named]) if named in TOPICS else every
    others = {}
    for name in every.keys() - own.keys():
        owners = " and ".join(f"do={topic}" for topic, one in TOPICS.items() if name in keys_of(one))
        others[name] = f"{name} is a key of {owners}; do={named} has {', '.join(['output', *own])}"
    said = COMMAND.read(overrides, multirun, more=own, elsewhere=others)
    if named in TOPICS:
        if not said.wrong:
            said.wrong += [f"command line: {one}" for one in _topic(named, said.values).mistakes()]
        said.wrong += file_mistakes("output", said.values["output"], [TOPICS[named].suffix])
    return said


def _topic(name: str, values: Mapping[str, Any]) -> Topic:
    return TOPICS[name](**{one.field: values[one.field] for one in keys_of(TOPICS[name]).values()})


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


def _jobs(configs: Sequence["RunConfig"], topic: str, values: dict[str, Any]) -> list[Exploration]:
    """Name the files: none twice."""
    from settings.runs import rooted

    own = _topic(topic, values)
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
        output = values["output"] or rooted(config.paths.runs) / "explore" / name
        if values["output"] and len(configs) > 1:
            output = output.with_stem(f"{output.stem}-{about}")
        plain = output
        for number in range(2, len(configs) + 2):
            if output not in taken:
                break
            output = plain.with_stem(f"{plain.stem}-{number}")
        taken.add(output)
        jobs.append(Exploration(config=config, do=topic, own=own, output=output, recipe=recipe))
    return jobs
