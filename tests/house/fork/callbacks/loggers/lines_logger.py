"""Metrics as plain lines."""

from pathlib import Path
from typing import Annotated, Any

from lightning.pytorch.loggers.logger import Logger


class LinesLogger(Logger):
    """Write a line a metric to RUN/lines.txt, with `digits` digits."""

    def __init__(self, *, run_folder: Path, digits: Annotated[int, "x >= 1"] = 6) -> None:
        super().__init__()
        self.file = run_folder / "lines.txt"
        self.digits = digits

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "lines"

    @property
    def version(self) -> str:
        """There is one file a run."""
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The configuration is in config.yaml."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a line a metric."""
        with self.file.open("a", encoding="utf-8") as file:
            file.writelines(f"{step} {name} {value:.{self.digits}g}\n" for name, value in metrics.items())
