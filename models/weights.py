"""Weights out of local files: ours, torchvision's, timm's or anybody's; and loading them into a net.

Files are read with `weights_only=True` or as safetensors: reading never runs code.
"""

from __future__ import annotations

import logging
import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from configs.errors import UserError
from models.inputs import adapt_weight, first_layer
from models.stages import stages

logger = logging.getLogger(__name__)

FILE_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".bin", ".tar")
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net")
PREFIXES = ("net.", "module.", "_orig_mod.", "model.")
# Names in published files that are older than their net's code: torchvision's DenseNet and MLP block of ViT.
RENAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


@dataclass(frozen=True, kw_only=True)
class WeightsReport:
    """What was taken from a file, what of the net stays random, and what of the file is not used."""

    origin: str
    matched: int
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def line(self) -> str:
        """Say it in one line."""
        said = f"weights from {self.origin}: {self.matched} tensors"
        if self.fresh:
            said += f"; new at random: {', '.join(self.fresh)}"
        if self.unused:
            said += f"; {len(self.unused)} of the file not used, such as {self.unused[0]}"
        return said


def is_file(weights: str) -> bool:
    """Tell a file (or run folder) from a named set of weights."""
    if weights in ("none", "default"):
        return False
    return weights.endswith(FILE_SUFFIXES) or "/" in weights or "\\" in weights or Path(weights).exists()


def checkpoint_file(path: Path) -> Path:
    """Take a file as it is, and of a run folder its best checkpoint."""
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    return path


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a file of weights into a mapping, on the CPU, without running code of the file.

    Raises:
        UserError: the file is damaged, or holds anything but tensors and plain values.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle, safetensors and torch each raise their own kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot read the weights in {file}: {reason}") from error
    if not isinstance(stored, dict):
        raise UserError(f"{file} holds a {type(stored).__name__}, not a mapping of names to tensors")
    return stored


def net_tensors(stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """Take the net's tensors out of anybody's checkpoint: inner mapping, no wrappers' prefixes."""
    ours = "lightbox" in stored
    for container in CONTAINERS:
        if isinstance(stored.get(container), Mapping):
            stored = stored[container]
            break
    tensors = {key: value for key, value in stored.items() if isinstance(value, Tensor)}
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            # Ours may have a loss or metrics beside the net; a foreign wrapper wraps everything.
            if inside and (len(inside) == len(tensors) or (ours and prefix == "net.")):
                tensors, stripped = inside, True
    return {key.replace("_orig_mod.", ""): value for key, value in tensors.items()}


def load_file_into(net: nn.Module, weights: str) -> WeightsReport:
    """Load a local file or run folder into a net; a head of another size stays at its random start."""
    file = checkpoint_file(Path(weights).expanduser())
    return load_tensors(net, net_tensors(read_checkpoint(file)), origin=str(file))


def load_tensors(net: nn.Module, tensors: Mapping[str, Tensor], *, origin: str) -> WeightsReport:
    """Copy tensors by name and shape; the first layer is adapted between 1 and n channels.

    Raises:
        UserError: a parameter or a norm's statistic outside the head is missing or has another shape.
    """
    own = net.state_dict()
    for pattern, by in RENAMES:
        tensors = {key if key in own else pattern.sub(by, key): value for key, value in tensors.items()}
    first = f"{first_layer(net)[0]}.weight"
    if first in tensors and tensors[first].shape != own[first].shape:
        tensors = {**tensors, first: _adapted(tensors[first], own[first])}
    head = set(stages(net)[-1].parameters)
    needed = {name for name, _ in net.named_parameters()} | {key for key in own if ".running_" in key}
    fitting = {key: tensors[key] for key in own if key in tensors and tensors[key].shape == own[key].shape}
    wrong = [key for key in own if key in needed and key not in fitting and key not in head]
    if wrong:
        key = wrong[0]
        file_shape = "missing" if key not in tensors else f"of shape {tuple(tensors[key].shape)}"
        raise UserError(
            f"model.weights: {origin} does not fit {type(net).__name__}: {len(wrong)} of {len(needed)} "
            f"tensors are missing or differ, such as {key}: {file_shape}, not {tuple(own[key].shape)}"
        )
    to_load = OrderedDict(fitting)
    # The versions of the modules: MNASNet refuses to load without its own.
    to_load._metadata = own._metadata  # type: ignore[attr-defined]
    net.load_state_dict(to_load, strict=False)
    report = WeightsReport(
        origin=origin,
        matched=len(fitting),
        fresh=tuple(key for key in own if key in head and key not in fitting),
        unused=tuple(key for key in tensors if key not in fitting),
    )
    logger.info(report.line())
    return report


def _adapted(weight: Tensor, like: Tensor) -> Tensor:
    """Adapt a first layer's weight where the two differ in the number of channels alone; else leave it."""
    have, want = weight.shape[1], like.shape[1]
    if weight.ndim == 2:  # dense on flattened images: only the ratio of the channels is known
        divisor = math.gcd(have, want)
        have, want = have // divisor, want // divisor
    alike = weight.ndim == like.ndim and weight.shape[0] == like.shape[0] and weight.shape[2:] == like.shape[2:]
    return adapt_weight(weight, have=have, want=want) if alike and {have, want} == {1, 3} else weight
