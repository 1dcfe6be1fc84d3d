"""Weights & Biases: a logger that never keeps a run waiting, pictures, and checkpoints as artifacts.

Offline runs are complete: `wandb sync RUN_FOLDER/wandb/offline-run-*` uploads them later. A run that goes on
offline makes a second such folder with the same id. wandb keeps a copy of each artifact until it is uploaded,
below the home folder unless WANDB_DATA_DIR names another place.
"""

import logging
import netrc
import os
import socket
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.loggers.wandb import WandbLogger  # imports wandb only when it is made
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

log = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds to wait for a connection; wandb itself waits 100 s and then ends the run."""


MOST_CLASSES = 100
"""Classes up to which the confusion matrix is sent as a table; it has their square of rows."""


class WandbLog(WandbLogger):
    """Lightning's logger, which also takes the pictures of `record_figure`.

    Args:
        images: whether pictures are sent.
        arguments: Lightning's.
    """

    def __init__(self, *, images: bool, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.images = images

    @rank_zero_only
    def log_picture(self, name: str, path: Path, *, step: int) -> None:
        """Send a PNG file; wandb keeps a copy of its own."""
        if self.images:
            self.log_image(f"figures/{name}", [str(path)], step=step)

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
        self.log_metrics({"test/confusion_matrix": chart}, step=step)  # type: ignore[dict-item]


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

    def start(mode: str | None) -> WandbLog:
        logger = WandbLog(
            images=images,
            save_dir=run_folder,
            project=project,
            entity=entity,
            group=group,
            tags=tags,
            notes=notes,
            name=name,
            id=run_id,
            config=config,
            mode=mode,
            # Not silent, it writes to standard output even after the program's own last line.
            settings=wandb.Settings(init_timeout=20, silent=True, console="off"),
        )
        _ = logger.experiment  # starts the run; what is wrong should show before training
        return logger

    if os.environ.get("WANDB_MODE", "online") != "online":
        return start(None)
    settings = wandb.setup().settings
    reason = _why_offline(settings.base_url, settings.api_key)
    if reason is None:
        try:
            logger = start("online")
            _say(f"wandb: {logger.experiment.url}")
            return logger
        except wandb.errors.Error as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            wandb.teardown()  # its service still holds the id of the run that did not start
    _say(f"wandb: offline, {reason}; upload later with: wandb sync {run_folder / 'wandb'}/offline-run-*")
    return start("offline")


def finish() -> None:
    """End the open run of wandb's, if there is one: after the last metric, and before another run starts."""
    if "wandb" not in sys.modules:
        return
    import wandb

    if wandb.run is not None:
        wandb.finish()


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
        import wandb

        for logger in loggers:
            for alias in ("best", "last"):
                path = self.folder / f"{alias}.ckpt"
                if path.is_file():
                    artifact = wandb.Artifact(name=f"checkpoints-{logger.version}", type="model")
                    artifact.add_file(str(path), name=path.name)
                    logger.experiment.log_artifact(artifact, aliases=["latest", alias])


def _say(line: str) -> None:
    print(line, flush=True)
    log.info(line)


def _why_offline(url: str, key: str | None) -> str | None:
    """Why a run cannot be tracked at `url`; None where it can."""
    if not (key or os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or _in_netrc(url)):
        return "as there is no key (wandb login)"
    if not _reachable(url):
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


def _reachable(url: str, patience: float | None = None) -> bool:
    """Whether the server, or the proxy on the way to it, takes a connection within `patience` seconds."""
    server = urlsplit(url)
    proxy = getproxies().get(server.scheme)
    if proxy and not proxy_bypass(server.hostname or ""):
        server = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    address = (server.hostname or "", server.port or (443 if server.scheme == "https" else 80))
    patience = PATIENCE if patience is None else patience
    answered = threading.Event()

    def connect() -> None:
        try:
            with socket.create_connection(address, timeout=patience):
                answered.set()
        except OSError:
            pass

    # In a thread, as the look-up of a name has a time-out of its own, which can be far longer.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(patience)
    return answered.is_set()
