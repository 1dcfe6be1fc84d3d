"""One way for all pictures: PNG in the run folder, and to every logger that takes pictures."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from lightning import Trainer

from settings.run_folder import RunFolder
from settings.whole_file import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 144


@runtime_checkable
class TakesPictures(Protocol):
    """A logger that shows pictures; `logger.images=false` makes it pass over them."""

    def log_picture(self, name: str, path: Path, *, step: int) -> None:
        """Show the PNG file `path` under `name`, at a step."""


def record_figure(run: "Trainer | RunFolder", name: str, figure: "Figure") -> Path:
    """Write `figure` to RUN/figures/NAME.png and hand it to every logger; returns the file.

    Args:
        run: a trainer of the run, or its record where there is no trainer.
        name: letters, digits, `_` and `-`; the same name again replaces the picture.
        figure: of matplotlib, made without pyplot, so that nothing has to be closed.
    """
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"a figure's name is its file's: letters, digits, _ and -; not {name!r}")
    if isinstance(run, Trainer):
        folder, loggers, step, writes = Path(run.default_root_dir), run.loggers, run.global_step, run.is_global_zero
    else:
        folder, loggers, step, writes = run.folder, run.loggers, run.summary.get("steps") or 0, True
    path = folder / "figures" / f"{name}.png"
    if not writes:
        return path
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI, facecolor="white")
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, png.getvalue())
    for logger in loggers:
        if isinstance(logger, TakesPictures):
            logger.log_picture(name, path, step=step)
    return path
