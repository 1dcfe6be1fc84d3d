"""What every look ends with: files of the user's choice, and the command to type next."""

import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.errors import UserError
from settings.whole_file import TableWriter, writing

if TYPE_CHECKING:
    from settings.schema.run_config import RunConfig


def train_line(config: "RunConfig", without: tuple[str, ...] = (), /, **found: str) -> str:
    """The command that trains with what was found, and with everything else as it was typed.

    Args:
        config: of the command.
        without: keys, or beginnings of them, that are left out.
        found: key -> value.
    """
    kept = [word for word in config.command if word.partition("=")[0] not in found]
    if "transfer" in found:  # keys of another mode would be refused, and weights are where there is no transfer
        gone = ("transfer.", "model.weights", "model.pretrained") if found["transfer"] == "scratch" else ("transfer.",)
        kept = [word for word in kept if not word.startswith(gone)]
    kept = [word for word in kept if not (without and word.startswith(without))]
    return shlex.join(["python", "train.py", *kept, *(f"{key}={value}" for key, value in found.items())])


def write(path: Path, save: Callable[[Path], Any]) -> None:
    """Write a file of the user's choice.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path, ending=path.suffix) as fresh:  # a picture's writer reads the ending
            save(fresh)
    except OSError as error:
        raise UserError(f"output={path}: cannot be written ({error.strerror or error})") from error


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file."""

    def save(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            TableWriter(file, lineterminator="\r\n").writerows([header, *rows])

    write(path, save)
