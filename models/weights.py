"""Weights out of local files: ours, torchvision's, timm's or anybody's; and loading them into a net.

Files are read with `weights_only=True` or as safetensors: reading never runs code.
"""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

from torch import Tensor, nn

from models.checkpoint import CARD, read_checkpoint
from models.inputs import first_layer
from models.lora import merged
from models.matching import Mismatch, WeightsReport, adapted, match_by_order, without_prefix
from models.stages import stages
from settings.errors import UserError
from settings.paths import nfc
from settings.run_names import checkpoint_of
from settings.weight_files import is_file, locate

__all__ = ["is_file", "load_file_into", "load_tensors", "locate", "net_tensors"]

CONTAINERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict"),
    *("model", "net", "network", "module", "params", "weights"),
)
PREFIXES = ("net.", "module.", "_orig_mod.", "model.")
# Names in published files that are older than their net's code: torchvision's DenseNet and MLP block of ViT.
RENAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


def net_tensors(stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """Take the net's tensors out of anybody's checkpoint: inner mapping, no wrappers' prefixes, adapters merged."""
    ours = CARD in stored
    inner: Mapping[str, Any] | None = stored
    while inner is not None:
        stored = inner
        inner = next((stored[name] for name in CONTAINERS if isinstance(stored.get(name), Mapping)), None)
    tensors = {key: value for key, value in stored.items() if isinstance(value, Tensor) and key != "n_averaged"}
    stripped = True
    while stripped:
        stripped = False
        for prefix in PREFIXES:
            inside = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            # Ours may have a loss or metrics beside the net; a foreign wrapper wraps everything.
            if inside and (len(inside) == len(tensors) or (ours and prefix == "net.")):
                tensors, stripped = inside, True
    return merged({key.replace("_orig_mod.", ""): value for key, value in tensors.items()})


def load_file_into(
    net: nn.Module, weights: str, *, by_order: bool = False, class_names: Sequence[str] = ()
) -> WeightsReport:
    """Load a local file or run folder into a net; a head of another size stays at its random start.

    A checkpoint of ours names its classes: its head's rows go to the classes of the same name among `class_names`.
    """
    file = checkpoint_of(locate(weights))
    if by_order and file.suffix == ".safetensors":
        raise UserError(
            f"model.weights_by_order: {file} is sorted by name, as every .safetensors file is; the order in which "
            "the net had its tensors is lost. Give a .pth file, or rename the tensors"
        )
    stored = read_checkpoint(file)
    tensors = net_tensors(stored)
    if not tensors:
        raise UserError(
            f"{file} holds no tensors that a net could have; its keys are {', '.join(map(str, stored))[:200]}"
        )
    about = stored.get(CARD)
    before = [nfc(name) for name in about.get("class_names") or ()] if isinstance(about, Mapping) else []
    classes = (before, class_names) if before and class_names and before != list(class_names) else None
    return load_tensors(net, tensors, origin=str(file), by_order=by_order, classes=classes)


def load_tensors(
    net: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    origin: str,
    by_order: bool = False,
    classes: tuple[Sequence[str], Sequence[str]] | None = None,
) -> WeightsReport:
    """Copy tensors by name and shape, or by order and shape; the first layer is adapted between 1 and 3 channels.

    `classes` are the file's and the net's, where they differ: a row of the head goes to the class of its name, and a
    class without one starts as the net does.

    What was done is returned, and kept as `net.weights_report`.

    Raises:
        UserError: a parameter or a norm's statistic outside the head is missing or has another shape.
    """
    first = f"{first_layer(net)[0]}.weight"
    head = set(stages(net)[-1].parameters)
    start_small(net, head)
    own = net.state_dict()
    if by_order:
        try:
            source = match_by_order(own, tensors, head=head, first=first)
        except Mismatch as mismatch:
            raise UserError(f"model.weights_by_order: {origin} does not fit {type(net).__name__}: {mismatch}") from None
    else:
        tensors = _with_names_of(net, tensors)
        source = {key: key for key in own if key in tensors}
    have = {key: tensors[other] for key, other in source.items()}
    if first in have:
        have[first] = adapted(have[first], own[first])
    by_class = _by_class(have, own, head, *classes) if classes else {}
    if classes and not set(classes[0]) & set(classes[1]):  # a head for other things is no start
        have = {key: value for key, value in have.items() if key not in by_class}
        by_class = {}
    have |= by_class
    fitting = {key: value for key, value in have.items() if value.shape == own[key].shape}
    needed = {name for name, _ in net.named_parameters()} | {key for key in own if ".running_" in key}
    wrong = [key for key in own if key in needed and key not in fitting and key not in head]
    if wrong:
        key = wrong[0]
        file_shape = "missing" if key not in have else f"of shape {tuple(have[key].shape)}"
        messages = [
            f"model.weights: {origin} does not fit {type(net).__name__}: {len(wrong)} of {len(needed)} "
            f"tensors are missing or differ, such as {key}: {file_shape}, not {tuple(own[key].shape)}"
        ]
        try:
            count = len(match_by_order(own, tensors, head=head, first=first))
            if not origin.endswith(".safetensors"):
                messages.append(
                    f"but its {count} tensors have the net's shapes in the net's order, as if under another project's "
                    "names: model.weights_by_order=true takes them so"
                )
        except Mismatch:
            pass
        raise UserError(*messages)
    to_load = OrderedDict(fitting)
    # The versions of the modules: MNASNet refuses to load without its own.
    to_load._metadata = own._metadata  # type: ignore[attr-defined]
    net.load_state_dict(to_load, strict=False)
    report = WeightsReport(
        origin=origin,
        taken={key: source[key] for key in fitting},
        fresh=tuple(key for key in own if key in head and key not in fitting),
        unused=tuple(key for key in tensors if key not in {source[name] for name in fitting}),
        adapted=tuple(key for key in (first,) if key in fitting and tensors[source[key]].shape != own[key].shape),
        by_order=by_order,
        by_class=tuple(by_class),
        new_classes=tuple(name for name in classes[1] if name not in classes[0]) if classes and by_class else (),
        shapes={key: tuple(value.shape) for key, value in own.items()},
    )
    net.weights_report = report  # type: ignore[assignment]
    return report


def _by_class(
    have: Mapping[str, Tensor], own: Mapping[str, Tensor], head: Set[str], old: Sequence[str], new: Sequence[str]
) -> dict[str, Tensor]:
    """The head's tensors of one row a class, in the order of the new classes."""
    rows = [(row, list(old).index(name)) for row, name in enumerate(new) if name in old]
    found = {}
    for key in (key for key in have if key in head):
        value, start = have[key], own[key]
        if value.ndim and value.shape == (len(old), *value.shape[1:]) and start.shape == (len(new), *value.shape[1:]):
            found[key] = start.clone()
            for row, before in rows:
                found[key][row] = value[before]
    return found


def start_small(net: nn.Module, head: Collection[str]) -> None:
    """Draw the layers of a head anew within 1 / sqrt(inputs), as torch does by itself.

    Libraries draw them for a training from scratch, some (timm's EfficientNets) by the number of outputs: with few
    classes the first logits are then so large that their gradients spoil the weights below.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and f"{name}.weight" in head:
            module.reset_parameters()


def _with_names_of(net: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under the net's names as far as they can be told: prefixes, and names of older code.

    timm's families with old names, or with tokens that depend on the image size, bring a function that converts.
    """
    own = net.state_dict()
    for pattern, by in RENAMES:
        tensors = {key if key in own else pattern.sub(by, key): value for key, value in tensors.items()}
    tensors = without_prefix(tensors, own.keys())
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    body = {name: value for name, value in net.named_parameters() if name not in stages(net)[-1].parameters}
    fits = all(name in tensors and tensors[name].shape == value.shape for name, value in body.items())
    if convert is None or fits:
        return tensors
    try:
        return dict(convert(dict(tensors), net))
    except (KeyError, IndexError, RuntimeError, ValueError, AttributeError):  # not a file of this family at all
        return tensors
