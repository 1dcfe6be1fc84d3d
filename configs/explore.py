"""The command line of `explore.py`: its own keys beside those of `train.py`, as strictly checked.

Standard library only until something is composed, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import UserError, nearest, shorten, unknown

if TYPE_CHECKING:
    from configs.schema import RunConfig

TOPICS = {"augment": "contact sheet of a recipe: originals, and the same images as training sees them, with labels"}
"""What `do` can be, and what it does."""

OWN = {
    "do": "what to look at: " + ", ".join(TOPICS),
    "output": "the picture, a .png file; else runs/explore/augment-DATA-RECIPE.png",
    "images": "columns: training images of one batch, 2 to 32 (8)",
    "draws": "rows below the originals: training steps, 1 to 32 (4)",
}
"""Keys of this script alone."""


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """One checked job: a training configuration, and what to look at in it."""

    config: RunConfig
    recipe: str
    output: Path
    images: int
    draws: int

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


def format_help() -> str:
    """The help page."""
    width = max(map(len, [*OWN, *TOPICS])) + 2
    return "\n".join(
        [
            "Lightbox looks before training.",
            "",
            "  python explore.py do=TOPIC [KEY=VALUE ...] [any override of train.py ...] [-m]",
            "",
            "Topics:",
            *(f"  {name:<{width}}{meaning}" for name, meaning in TOPICS.items()),
            "",
            "Keys of its own:",
            *(f"  {name:<{width}}{meaning}" for name, meaning in OWN.items()),
            "",
            "Without augment=NAME it draws every recipe there is; `python train.py --help` lists the other keys.",
            "",
            "Examples:",
            "  python explore.py do=augment data=fashion_mnist",
            "  python explore.py do=augment data=fashion_mnist augment=strong augment.mixup.alpha=1 output=sheet.png",
            "",
            "The last line for each picture says `sheet: PATH`. Exit codes: 0 done, 1 a bug, 2 configuration or data.",
        ]
    )


def compose_jobs(overrides: Sequence[str], multirun: bool) -> list[Exploration]:
    """All checked jobs: one a recipe, or one a job of the grid.

    Raises:
        UserError: all mistakes together, in the script's own keys and in the configuration.
    """
    from configs import compose

    given, rest, wrong = _own_keys(overrides)
    own, found = _checked(given)
    wrong += found
    named = any(one.lstrip("+~").startswith(("augment", "experiment=", "debug=", "resume=")) for one in rest)
    configs: list[RunConfig] = []
    refused: list[UserError] = []
    tries = [rest] if named else [[*rest, f"augment={choice}"] for choice in _recipes()]
    for words in tries:
        try:
            configs += compose.compose_jobs(words, multirun)
        except UserError as error:
            refused.append(error)
    if wrong or not configs:
        messages = [*wrong, *(message for error in refused[:1] for message in error.messages)]
        raise UserError(*shorten(messages))
    for refusal in refused:  # a recipe that is not for this data set
        print("\n".join(f"left out: {message}" for message in refusal.messages), flush=True)
    return _jobs(configs, own)


def _own_keys(overrides: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Split the command line: the script's own keys, the overrides, mistyped keys of its own."""
    from configs.files import groups
    from configs.habits import habit
    from configs.schema import Settings

    given: dict[str, str] = {}
    rest: list[str] = []
    wrong: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        known = key in Settings.model_fields or key in groups() or habit(key) is not None
        close = nearest(key, OWN) if equals and not known and "." not in key else []
        if equals and key in OWN:
            given[key] = value
        elif close:
            wrong.append(f"command line: unknown key {key}; nearest: {', '.join(close)}")
        else:
            rest.append(text)
    return given, rest, wrong


def _checked(given: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Values of the script's own keys, defaults filled in, and what is wrong with them."""
    own: dict[str, Any] = {"images": 8, "draws": 4, "output": None}
    wrong: list[str] = []
    if "do" not in given:
        wrong.append(f"command line: do is needed: do={' or do='.join(TOPICS)}")
    elif given["do"] not in TOPICS:
        wrong.append(f"command line: {unknown('do', given['do'], TOPICS)}")
    for key, least in (("images", 2), ("draws", 1)):
        text = given.get(key)
        if text is None:
            continue
        if not text.isascii() or not text.isdigit() or not least <= int(text[:9]) <= 32:
            wrong.append(f"command line: {key}={text[:40]}: must be a whole number from {least} to 32")
        else:
            own[key] = int(text)
    if (output := given.get("output")) is not None:
        path = Path(output).expanduser()
        if path.suffix.lower() != ".png" or "\0" in output:
            wrong.append(f"command line: output={output[:80]!r}: must be a file that ends in .png")
        elif path.is_dir():
            wrong.append(f"command line: output={output[:80]!r}: is a folder; name a file in it")
        else:
            own["output"] = Path.cwd() / path
    return own, wrong


def _recipes() -> list[str]:
    """All recipes that change an image, the gentle ones first."""
    from configs import files

    order = ["light", "standard", "strong"]
    there = [choice for choice in files.choices("augment") if choice != "none"]
    return [*(one for one in order if one in there), *(one for one in there if one not in order)]


def _jobs(configs: Sequence[RunConfig], own: dict[str, Any]) -> list[Exploration]:
    """Name the pictures: none twice."""
    from configs.runs import rooted

    jobs: list[Exploration] = []
    taken: set[Path] = set()
    for config in configs:
        choices = [word.partition("=")[2] for word in config.command if word.startswith("augment=")]
        recipe = choices[-1] if choices else config.experiment or "recipe"
        output = own["output"] or rooted(config.paths.runs) / "explore" / f"augment-{config.data.name}-{recipe}.png"
        if own["output"] and len(configs) > 1:
            output = output.with_stem(f"{output.stem}-{recipe}")
        plain = output
        for number in range(2, len(configs) + 2):
            if output not in taken:
                break
            output = plain.with_stem(f"{plain.stem}-{number}")
        taken.add(output)
        jobs.append(Exploration(config=config, recipe=recipe, output=output, images=own["images"], draws=own["draws"]))
    return jobs
