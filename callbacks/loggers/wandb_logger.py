"""Weights & Biases: a logger that never keeps a run waiting, pictures, and checkpoints as artifacts.

Whatever happens to its server, a run goes on, and one line says so. Offline runs are complete:
`wandb sync RUN_FOLDER/wandb/offline-run-*` uploads them later. A run that goes on offline makes a second such folder
with the same id. wandb keeps a copy of each artifact until it is uploaded, below the home folder unless WANDB_DATA_DIR
names another place.
"""

import logging
import netrc
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.loggers.wandb import WandbLogger  # imports wandb only when it is made
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from callbacks.loggers.reachable import PATIENCE, reachable
from settings.errors import UserError

log = logging.getLogger(__name__)

STARTING = 8
"""Seconds for a run to start on a server that answers."""
ENDING = 30
"""Seconds at the end for what is not sent yet. Checkpoints take what they need, while the server answers."""

MOST_CLASSES = 100
"""Classes up to which the confusion matrix is sent as a table; it has their square of rows."""


class WandbLog(WandbLogger):
    """Lightning's logger, which also takes the pictures of `record_figure`, and never ends a run.

    Args:
        images: whether pictures are sent.
        server: its address, None for a run that is not sent.
        arguments: Lightning's.
    """

    def __init__(self, *, images: bool, server: str | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.images = images
        self.server = server
        self.uploads: list[Any] = []
        """Artifacts on their way."""
        self.warned = False
        """Whether it was said that wandb failed."""

    @property
    def url(self) -> str | None:
        """Its page on the site; None of a run that is not sent."""
        return None if self.experiment.offline else self.experiment.url

    def attempt(self, send: Callable[[], Any]) -> Any:
        """Do it; the first failure is said, and the run goes on."""
        try:
            return send()
        except Exception as error:
            log.debug("wandb", exc_info=error)
            self.warn("" if isinstance(error, TimeoutError) else _first_line(error))
            return None

    def warn(self, reason: str = "") -> None:
        """Say once what went wrong; nothing means that the server is gone."""
        if not self.warned:
            self.warned = True
            reason = reason or f"{urlsplit(self.server or '').hostname} does not answer any more"
            record = Path(self.experiment.dir).parent
            _say(f"warning: wandb: {reason}; what it was told is on disk: upload it with: wandb sync {record}")

    def answers(self) -> bool:
        """Whether files can be sent: the run is offline, or its server is there."""
        there = self.server is None or reachable(self.server)
        if not there:
            self.warn()
        return there

    def send_checkpoint(self, path: Path, alias: str) -> None:
        """Start the upload of a new version of the run's artifact."""
        import wandb

        artifact = wandb.Artifact(name=f"checkpoints-{self.version}", type="model")
        artifact.add_file(str(path), name=path.name)
        self.uploads.append(self.experiment.log_artifact(artifact, aliases=["latest", alias]))

    def await_uploads(self) -> None:
        """Wait until checkpoints are uploaded, for as long as the server answers."""
        from wandb.sdk.artifacts.exceptions import WaitTimeoutError

        while self.server and self.uploads and not self.warned:
            try:
                self.uploads[0].wait(timeout=10)
                del self.uploads[0]
            except WaitTimeoutError:
                self.answers()

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Send figures."""
        self.attempt(partial(super().log_metrics, metrics, step))

    @rank_zero_only
    def log_picture(self, name: str, path: Path, *, step: int) -> None:
        """Send a PNG file; wandb keeps a copy of its own."""
        if self.images:
            self.attempt(partial(self.log_image, f"figures/{name}", [str(path)], step=step))

    @rank_zero_only
    def log_confusion(self, counts: Tensor, class_names: Sequence[str], *, step: int) -> None:
        """Send counts (K, K), a true class a row, as the site's own interactive confusion matrix."""
        import wandb

        rows = [
            [true, predicted, count]
            for true, row in zip(class_names, counts.tolist(), strict=True)
            for predicted, count in zip(class_names, row, strict=True)
        ]
        columns = {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"}
        table = wandb.Table(columns=list(columns), data=rows)
        chart = wandb.plot_table("wandb/confusion_matrix/v1", table, columns, {"title": "test, true and predicted"})
        self.log_metrics({"test/confusion_matrix": chart}, step=step)


def log_confusion(loggers: Iterable[Logger], counts: Tensor, class_names: Sequence[str], *, step: int) -> None:
    """Hand the test's confusion counts (K, K) to each wandb logger, unless the classes are too many."""
    for logger in loggers:
        if isinstance(logger, WandbLog) and len(class_names) <= MOST_CLASSES:
            logger.log_confusion(counts, class_names, step=step)


def wandb_logger(
    *,
    run_folder: Path,
    run_id: str,
    name: str,
    config: dict[str, Any],
    project: str = "lightbox",
    entity: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    notes: str | None = None,
    images: bool = True,
) -> WandbLog:
    """A started logger: one line names its page, or says why it is offline: no key, or no connection.

    An offline or disabled mode that the user set in WANDB_MODE is kept. A run of wandb's that is still open
    in this process is ended first: Lightning would go on writing into it.

    Args:
        run_folder: existing folder, which gets the subfolder `wandb`.
        run_id: tracking id; the same id goes on with the same run.
        name: what the run is called on the site.
        config: the whole configuration, plain values.
        project: project on the site.
        entity: team or user; None is the account's own.
        group: name under which runs stand together.
        tags: words to filter by.
        notes: free text.
        images: whether pictures are sent.
    """
    import wandb

    finish()
    _refuse_environment()

    def start(mode: str | None, server: str | None = None) -> WandbLog:
        experiment = wandb.init(  # not by Lightning, which hands over an argument that wandb warns of
            dir=run_folder,
            project=project,
            entity=entity,
            group=group,
            tags=tags,
            notes=notes,
            name=name,
            id=run_id,
            resume="allow",
            config=config,
            mode=mode,  # type: ignore[arg-type]  # one of its words
            settings=wandb.Settings(
                init_timeout=STARTING,
                finish_timeout=ENDING,
                finish_timeout_raises=True,
                # Not silent, it writes to standard output even after the program's own last line.
                silent=True,
                console="off",
            ),
        )
        experiment.define_metric("trainer/global_step")
        experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return WandbLog(images=images, server=server, experiment=experiment, save_dir=run_folder, project=project)

    if os.environ.get("WANDB_MODE", "online") != "online":
        return start(None)
    # Its service tells its maker, and standard error, what goes wrong in it.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    settings = wandb.setup(wandb.Settings(silent=True)).settings
    reason = _why_offline(settings.base_url, settings.api_key)
    if reason is None:
        try:
            logger = start("online", settings.base_url)
            _say(f"wandb: {logger.experiment.url}")
            return logger
        except Exception as error:
            reason = _first_line(error)
            with suppress(Exception):  # its service still holds the id of the run that did not start
                wandb.teardown()
    _say(f"wandb: offline, {reason}; upload later with: wandb sync {run_folder / 'wandb'}/offline-run-*")
    return start("offline")


def finish(loggers: Iterable[Logger] = ()) -> None:
    """End the open run of wandb's, if there is one: after the last metric, and before another run starts.

    Args:
        loggers: those of the run; one of wandb's says what went wrong.
    """
    if "wandb" not in sys.modules:
        return
    import wandb

    own = [logger for logger in loggers if isinstance(logger, WandbLog)]
    for logger in own:
        logger.attempt(logger.await_uploads)
        logger.attempt(logger.experiment.finish)
    if wandb.run is not None:
        with suppress(Exception):  # of a run that failed
            wandb.finish()
    if any(logger.warned for logger in own):
        with suppress(Exception):  # else this process waits for wandb's service once more when it ends
            wandb.teardown()


class CheckpointArtifacts(Callback):
    """Store the best and the last checkpoint when training has ended: an artifact of type `model`, a version each.

    Their aliases are `best` and `last`: `run.use_artifact("checkpoints-ID:best")`. A run that goes on adds
    versions, and the aliases move to them.

    Args:
        folder: where best.ckpt and last.ckpt are.
    """

    def __init__(self, *, folder: Path) -> None:
        self.folder = Path(folder)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand the files to each wandb logger; wandb copies them, and uploads in the background."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLog)]
        if not (loggers and trainer.is_global_zero):
            return
        for logger in [one for one in loggers if one.answers()]:
            for alias in ("best", "last"):
                path = self.folder / f"{alias}.ckpt"
                if path.is_file():
                    logger.attempt(partial(logger.send_checkpoint, path, alias))


def _refuse_environment() -> None:
    """Ask wandb whether it takes its variables of the environment, before a run relies on them.

    Raises:
        UserError: it does not.
    """
    import wandb

    try:
        wandb.Settings().update_from_env_vars(dict(os.environ))
    except Exception as error:  # pydantic's, wandb's and plain ones
        said = [line.strip() for line in str(error).splitlines() if "errors.pydantic.dev" not in line]
        given = ", ".join(sorted(name for name in os.environ if name.startswith("WANDB_") and name != "WANDB_API_KEY"))
        text = " ".join(said).partition(" [type=")[0]
        raise UserError(f"logger=wandb: wandb refuses the environment ({given}): {text}") from error


def _say(line: str) -> None:
    print(line, flush=True)
    log.info(line)


def _why_offline(url: str, key: str | None) -> str | None:
    """Why a run cannot be tracked at `url`; None where it can."""
    if not (key or os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or _in_netrc(url)):
        return "as there is no key (wandb login)"
    if not reachable(url):
        return f"as {urlsplit(url).hostname} did not answer within {PATIENCE:g} s"
    return None


def _in_netrc(url: str) -> bool:
    """Whether the file that `wandb login` writes holds a key for the server."""
    import wandb

    places = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    path = next((Path(p).expanduser() for p in places if p and Path(p).expanduser().is_file()), None)
    if path is None:
        return False
    hosts = [urlsplit(url).netloc]
    if url == wandb.Settings.model_fields["base_url"].default:
        hosts.append("api.wandb.ai")  # where keys of the public server stood before it moved
    try:
        known = netrc.netrc(path)
    except (netrc.NetrcParseError, OSError):
        return False
    return any(known.authenticators(host) for host in hosts)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
