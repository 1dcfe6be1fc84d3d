"""TensorBoard: metrics, configuration and pictures in RUN/tensorboard; `tensorboard --logdir runs` shows all runs.

The package is optional (`pip install -e ".[tensorboard]"`) and imported with the first metric.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

REQUIRES = {"tensorboard": 'pip install -e ".[tensorboard]"'}
"""Package -> how to install it."""


class TensorboardLogger(Logger):
    """Write event files into a folder, taken as it is named.

    Lightning's logger expands `$` and `~` within the path and leaves an empty hparams.yaml; after a resume it shows
    the steps twice that were made between the checkpoint and the stop.

    Args:
        run_folder: gets the folder `tensorboard` when the first event is written.
        config: the whole configuration, plain values, shown as text.
        keep_until: last step of an earlier session to keep, `None` for a new run.
        images: whether pictures are shown.
    """

    def __init__(
        self, *, run_folder: Path, config: dict[str, Any], keep_until: int | None = None, images: bool = True
    ) -> None:
        super().__init__()
        self.folder = run_folder / "tensorboard"
        self.images = images
        self._config = config
        self._keep_until = keep_until
        self._writer: SummaryWriter | None = None

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "tensorboard"

    @property
    def version(self) -> str:
        """There is one folder a run."""
        return ""

    @property
    def writer(self) -> "SummaryWriter":
        """The open event file."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = None if self._keep_until is None else self._keep_until + 1
            self._writer = SummaryWriter(str(self.folder), purge_step=purge)
            text = yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True)
            indented = "\n".join(f"    {line}" for line in text.splitlines())  # Markdown for "as it stands"
            self._writer.add_text("config", indented, global_step=purge or 0)
        return self._writer

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The configuration is shown as text."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a point to the curve of each metric."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, float(value), global_step=step)

    @rank_zero_only
    def log_picture(self, name: str, path: Path, *, step: int) -> None:
        """Show a PNG file."""
        if not self.images:
            return
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))  # (H, W, C)
        self.writer.add_image(f"figures/{name}", pixels, global_step=step, dataformats="HWC")

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Put what was logged on disk; the test's metrics come after the end of training."""
        if self._writer is not None:
            self._writer.flush()
