"""Published weights of torchvision and timm: which there are, their preprocessing, their file.

Looking up reads tables only. Fetching takes the file from the library's own cache, or downloads it there;
without a network it gives up after a few seconds and says what to put where.
"""

from __future__ import annotations

import math
import re
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies

import torch

from settings.errors import UserError, unknown
from settings.preprocessing import INTERPOLATIONS

CONNECT_SECONDS = 3.0
# torchvision re-normalises inside these nets from ImageNet's statistics to 0.5. We switch that off, so that
# the first layer can be adapted to other channels, and normalise with 0.5 at once: the same numbers.
HALF_NORMALISED = ("googlenet", "inception_v3")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published set of weights: where its file is or would be, and its preprocessing."""

    label: str
    file: Path | None  # None: not in the cache
    wanted: str  # what to put into the cache, and where
    address: str
    image_size: int
    resize: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    repository: tuple[str, str] | None = None  # of timm's hub: repository and file name


def published(*, name: str, source: str, weights: str) -> Published:
    """Look up a published set (`default`, or a set by its name); reads no file and opens no connection.

    Raises:
        UserError: the net has no published weights, or none of that name.
    """
    if source == "own":
        raise UserError(f"model.weights={weights}: our own nets have no published weights; give a file instead")
    return (_torchvision if source == "torchvision" else _timm)(name, weights)


def fetched(found: Published) -> Path:
    """Give the file of a published set, downloading it into the library's cache if needed.

    Raises:
        UserError: it is not in the cache and the host does not answer within a few seconds.
    """
    if found.file is not None:
        return found.file
    missing = UserError(
        f"the weights {found.label} are not on this machine, and {urlparse(found.address).hostname} does not answer",
        f"put {found.wanted}, or give a file: model.weights=FILE",
    )
    if not _reachable(found.address):
        raise missing
    try:
        if found.repository is not None:
            from huggingface_hub import hf_hub_download

            return Path(hf_hub_download(*found.repository))
        file = _hub_file(found.address)
        file.parent.mkdir(parents=True, exist_ok=True)
        hash_prefix = re.search(r"-([a-f0-9]+)\.", file.name)
        torch.hub.download_url_to_file(found.address, str(file), hash_prefix[1] if hash_prefix else None)
    except (OSError, RuntimeError) as error:
        raise missing from error
    return file


def _torchvision(name: str, weights: str) -> Published:
    import torchvision

    sets = torchvision.models.get_model_weights(name)
    if weights == "default":
        if not len(sets):
            raise UserError(f"model.weights: torchvision has no published weights for {name}")
        entry = sets.DEFAULT
    elif weights in sets.__members__:
        entry = sets[weights]
    else:
        raise UserError(unknown(f"weights of torchvision's {name}", weights, ["none", "default", *sets.__members__]))
    prepare = entry.transforms()
    file = _hub_file(entry.url)
    half = name in HALF_NORMALISED
    return Published(
        label=f"{name} {entry.name}",
        file=file if file.is_file() else None,
        wanted=f"{file.name} into {file.parent}",
        address=entry.url,
        image_size=prepare.crop_size[0],
        resize=prepare.resize_size[0],
        interpolation=prepare.interpolation.value,
        mean=(0.5,) * 3 if half else tuple(prepare.mean),
        std=(0.5,) * 3 if half else tuple(prepare.std),
    )


def timm_name(name: str, weights: str) -> str:
    """Put a named set into timm's spelling, architecture.tag; `default` leaves the name alone."""
    return name if weights == "default" else f"{name.partition('.')[0]}.{weights}"


def _timm(name: str, weights: str) -> Published:
    import timm
    from huggingface_hub import constants, try_to_load_from_cache

    architecture, _, tag = timm_name(name, weights).partition(".")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if not tags:
        raise UserError(f"model.weights: timm has no published weights for {architecture}")
    if tag and tag not in tags:
        raise UserError(unknown(f"weights of timm's {architecture}", tag, ["none", "default", *tags]))
    config: Any = timm.get_pretrained_cfg(timm_name(name, weights))
    if config.hf_hub_id:
        names = ["model.safetensors", "pytorch_model.bin"]
        cached = [try_to_load_from_cache(config.hf_hub_id, each, cache_dir=constants.HF_HUB_CACHE) for each in names]
        file = next((Path(found) for found in cached if isinstance(found, str)), None)
        folder = Path(constants.HF_HUB_CACHE) / f"models--{config.hf_hub_id.replace('/', '--')}"
        wanted, address = f"{names[0]} of {config.hf_hub_id} into {folder}", constants.ENDPOINT
        repository = (config.hf_hub_id, names[0])
    else:
        in_cache = _hub_file(config.url)
        file = in_cache if in_cache.is_file() else None
        wanted, address, repository = f"{in_cache.name} into {in_cache.parent}", config.url, None
    size = config.input_size[-1]
    return Published(
        label=f"{architecture} {config.tag}",
        file=file,
        wanted=wanted,
        address=address,
        image_size=size,
        resize=math.floor(size / config.crop_pct),
        interpolation=config.interpolation if config.interpolation in INTERPOLATIONS else "bicubic",
        mean=tuple(config.mean),
        std=tuple(config.std),
        repository=repository,
    )


def _hub_file(address: str) -> Path:
    """Say where torch's hub keeps the file of an address."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(address).path).name


def _reachable(address: str) -> bool:
    """Whether a host takes a connection within CONNECT_SECONDS; behind a proxy, assume so."""
    if getproxies():
        return True
    url = urlparse(address)
    answers: list[bool] = []

    def connect() -> None:
        try:
            with socket.create_connection((url.hostname, url.port or 443), timeout=CONNECT_SECONDS):
                answers.append(True)
        except OSError:
            pass

    # A look-up in the system's resolver cannot be given a time limit; a daemon thread can be left behind.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return bool(answers)
