"""The command line of `augment.py`: its own keys beside those of `train.py`, as strictly checked.

Standard library only until something is composed, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.keys import Key, split_words, whole
from settings.errors import UserError, shorten

if TYPE_CHECKING:
    from settings.schema.run_config import RunConfig


def ending(text: str) -> str:
    """A reader of image formats."""
    if text not in ("png", "jpg"):
        raise ValueError("must be png or jpg")
    return text


KEYS: dict[str, Key] = {
    "output": Key(meaning="the folder to write; it must be new or empty", read=str),
    "copies": Key(meaning="augmented copies of each training image, 1 to 1000 (4)", read=whole(1, 1000), default=4),
    "format": Key(meaning="png (as they are) or jpg (quality 95) (png)", read=ending, default="png"),
}


@dataclass(frozen=True, kw_only=True)
class Enlargement:
    """One checked job: a training configuration, and where its augmented images go."""

    config: RunConfig
    output: Path
    copies: int
    format: str

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
    return "\n".join(
        [
            "Lightbox writes an enlarged image folder: for small data, or to see what training would see.",
            "",
            "  python augment.py data=NAME augment=RECIPE output=FOLDER [KEY=VALUE ...] [any override of train.py ...]",
            "",
            *(f"  {key:<8} {one.meaning}" for key, one in KEYS.items()),
            "",
            "Training images are written as they are and copies times augmented; validation and test images as they",
            "are. The folder is read by data=folder, and its manifest.csv by data=csv (with the classes' exact names).",
            "Recipes that mix images (mixup, cutmix, mosaic) are refused: a file in a class folder has one label.",
            "",
            "Example:",
            "  python augment.py data=digits augment=standard copies=5 output=enlarged_digits",
            "",
            "Exit codes: 0 done, 1 a bug, 2 configuration or data.",
        ]
    )


def compose_jobs(overrides: Sequence[str], multirun: bool) -> list[Enlargement]:
    """The checked job.

    Raises:
        UserError: all mistakes together, in the script's own keys and in the configuration.
    """
    from settings.reading import compose

    given, rest, wrong = split_words(overrides, KEYS)
    own: dict[str, Any] = {key: one.default for key, one in KEYS.items()}
    for key, text in given.items():
        try:
            own[key] = KEYS[key].read(text)
        except ValueError as error:
            wrong.append(f"command line: {key}={text[:40]}: {error}")
    if multirun:
        wrong.append("command line: -m is for train.py; one folder is written at a time")
    if own["output"] is None:
        wrong.append("command line: output is needed: output=FOLDER")
    else:
        own["output"] = Path.cwd() / Path(own["output"]).expanduser()
        wrong += _folder_mistakes(own["output"])
    try:
        (config,) = compose.compose_jobs(rest, False)
        wrong += _recipe_mistakes(config)
    except UserError as error:
        wrong += error.messages
    if wrong:
        raise UserError(*shorten(wrong))
    return [Enlargement(config=config, **own)]


def _folder_mistakes(output: Path) -> list[str]:
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            return [f"command line: output={str(output)[:120]!r}: is there already; name a new folder"]
    except (OSError, ValueError) as error:
        return [f"command line: output={str(output)[:120]!r}: {error}"]
    return []


def _recipe_mistakes(config: RunConfig) -> list[str]:
    from settings.schema import names, signatures

    known = names.operations()
    mixing = [name for name in config.augment if name in known and signatures.class_value(known[name], "mixes")]
    if mixing:
        drop = " ".join(f"augment.{name}=null" for name in mixing)
        return [f"augment: {' and '.join(mixing)} mix labels, and a file in a class folder has one; drop: {drop}"]
    asking = [name for name in config.augment if name in known and signatures.class_value(known[name], "asks_net")]
    if asking:
        drop = " ".join(f"augment.{name}=null" for name in asking)
        return [f"augment: {' and '.join(asking)} asks the net that trains, and none trains here; drop: {drop}"]
    if not config.augment:
        return ["augment: nothing in it is random; name a recipe, such as augment=standard"]
    return []
