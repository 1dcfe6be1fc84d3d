"""The command line of `augment.py`: its own keys beside those of `train.py`, as strictly checked.

Standard library only until something is composed, so that help comes at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from settings.commands.command import EVERYTHING, Command, TrainingJob
from settings.commands.keys import NEEDED, absolute, key
from settings.errors import UserError

if TYPE_CHECKING:
    from settings.schema.run_config import RunConfig


def _new_folder(text: str) -> Path:
    path = absolute(text)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ValueError("is there already; name a new folder")
    except OSError as error:
        raise ValueError(str(error)) from None
    return path


@dataclass(frozen=True, kw_only=True)
class Enlargement(TrainingJob):
    """One checked job: a training configuration, and where its augmented images go."""

    output: Path = key(NEEDED, "the folder to write; it must be new or empty", read=_new_folder)
    copies: Annotated[int, "1 <= x <= 1000"] = key(4, "augmented copies of each training image")
    format: Literal["png", "jpg"] = key("png", "png: as they are; jpg: quality 95")


COMMAND = Command(
    job=Enlargement,
    script="augment.py",
    title="Lightbox writes an enlarged image folder: for small data, or to see what training would see.",
    usage=["data=NAME augment=RECIPE output=FOLDER [KEY=VALUE ...] [any override of train.py ...]"],
    notes=[
        "Training images are written as they are and copies times augmented; validation and test images as they",
        "are. The folder is read by data=folder, and its manifest.csv by data=csv (with the classes' exact names).",
        "Recipes that mix images (mixup, cutmix, mosaic) are refused: a file in a class folder has one label.",
    ],
    examples=["data=digits augment=standard copies=5 output=enlarged_digits"],
    ending="The last line says `folder: PATH`. Exit codes: 0 done, 1 a bug, 2 configuration or data.",
    overrides=EVERYTHING,
    no_grid="one folder is written at a time",
)


def compose_jobs(overrides: Sequence[str], multirun: bool) -> list[Enlargement]:
    """The checked job.

    Raises:
        UserError: all mistakes together, in the script's own keys and in the configuration.
    """
    from settings.reading import compose

    said = COMMAND.read(overrides, multirun)
    try:
        config = compose.compose(said.overrides)
        said.wrong += _recipe_mistakes(config)
    except UserError as error:
        said.wrong += error.messages
    said.refuse()
    return [Enlargement(**said.values, config=config)]


def _recipe_mistakes(config: "RunConfig") -> list[str]:
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
