"""From a name to a net: our own, torchvision's or timm's; head sized to the data, input adapted.

Every net maps images (B, in_channels, H, W) to logits (B, num_classes) and has stages (models/stages.py),
whatever it comes from. A name without a source is looked up in that order; libraries are imported only when
it comes to them.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from models.checkpoint import CARD, read_checkpoint
from models.initialization import DEFAULT, initialize
from models.inputs import adapt_input, first_layer
from models.lora import add_adapters
from models.matching import WeightsReport
from models.nets import NETS
from models.published import Published, fetched, published, timm_name
from models.stages import stages
from models.standardize import put_in_front
from models.weights import (
    is_file,
    load_file_into,
    load_tensors,
    locate,
    net_tensors,
    start_small,
)
from settings.errors import UserError, unknown
from settings.preprocessing import Preprocessing
from settings.run_names import checkpoint_of

SOURCES = ("own", "torchvision", "timm")
# What torchvision's constructors are given unless the user says otherwise, by their module; SIZE is the image
# size. Auxiliary heads (model.arguments.aux_logits=true) give a tuple in training, whose losses the task adds up.
# init_weights=True draws truncated normals one by one; batch norm makes torch's own start as good.
SIZE = "image size"
TORCHVISION_ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "transform_input": False, "init_weights": False},
    "inception": {"aux_logits": False, "transform_input": False, "init_weights": False},
    "vision_transformer": {"image_size": SIZE},
    "maxvit": {"input_size": (SIZE, SIZE)},
}
RESERVED = ("num_classes", "in_channels", "in_chans", "weights", "pretrained", "progress")


@dataclass(frozen=True, kw_only=True)
class NetInput:
    """What a net wants its images to be; None is "no opinion".

    `image_sizes` are the only sizes it takes (the first one is its usual); `image_size` is the size its
    weights were trained at; `resize`, `interpolation`, `mean` and `std` (one number a channel of the weights)
    come with weights, whose name is `origin`.
    """

    image_sizes: tuple[int, ...] | None = None
    image_size: int | None = None
    resize: int | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    origin: str | None = None


def build_net(
    *,
    name: str,
    source: str | None = None,
    num_classes: int,
    in_channels: int,
    image_size: int,
    weights: str = "none",
    weights_by_order: bool = False,
    initialization: str = DEFAULT,
    class_names: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    standardize: str = "none",
    adapters: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build the net `name` for images of `in_channels` channels and `image_size` x `image_size` pixels.

    `weights` is none, default, a named set of the library, or a file (or run folder); a head of another size
    than the file's stays at its random start. Without weights `initialization` is the rule by which layers start, see
    models/initialization.py. `weights_by_order` pairs a file's tensors with the net's by their
    order instead of their names; `class_names` let the head of a checkpoint of ours be taken class by class.
    `arguments` go to the net's constructor. `standardize` puts a layer in front that is still to be fitted or loaded,
    see models/standardize.py. `adapters` are the arguments of low-rank adapters (models/lora.py), which are added to
    the loaded weights. What was loaded is told by `net.weights_report`, None without weights.

    Raises:
        UserError: unknown name, source, weights or argument, an impossible value, or an image size it cannot
        take.
    """
    source = _source(name, source)
    build = {"own": _own, "torchvision": _torchvision, "timm": _timm}[source]
    arguments = dict(arguments or {})
    if taken := [key for key in arguments if key in RESERVED]:
        raise UserError(f"model.arguments: {', '.join(taken)} is set by the data and by model.weights, not here")
    file = weights != "none" and is_file(weights)
    library_set = None
    if weights != "none" and not file:
        library_set = published(name=name, source=source, weights=weights)
    with _as_user_error(f"model {name} ({source}) for {image_size}x{image_size} images"):
        net = build(name, num_classes, in_channels, image_size, library_set, arguments)
    if library_set is None:
        net.weights_report = None  # type: ignore[assignment]
    if weights == "none":
        initialize(net, initialization)
    if file:
        load_file_into(net, weights, by_order=weights_by_order, class_names=class_names)
    if adapters is not None:
        add_adapters(net, **adapters)
    if source != "own":
        _check_image_size(net, name, in_channels, image_size)
        if arguments.get("aux_logits"):  # heads that only training runs, and that want larger images
            _check_image_size(net, name, in_channels, image_size, training=True)
    put_in_front(net, kind=standardize, channels=in_channels, size=image_size)
    return net


def net_input(*, name: str, source: str | None = None, weights: str = "none") -> NetInput:
    """Say what images a net wants: fixed sizes, and with weights the preprocessing of their training.

    A file of ours tells its own preprocessing; any other file for a library's net is taken to follow that
    library's default set, or the set whose file name it has.

    Raises:
        UserError: as `build_net`; nothing is downloaded.
    """
    source = _source(name, source)
    sizes = getattr(own_class(name), "image_sizes", None) if source == "own" else None
    if weights == "none":
        return NetInput(image_sizes=sizes)
    if is_file(weights):
        file = checkpoint_of(locate(weights))
        stored = read_checkpoint(file).get(CARD)
        if isinstance(stored, Mapping):
            kept = Preprocessing.from_dict(stored["preprocessing"])
            return _follow(kept, sizes, f"the run of {file}")
        weights = "none" if source == "own" else _set_of_file(name, source, file.name)
        if weights == "none":
            return NetInput(image_sizes=sizes, origin=f"the data: {file.name} does not say")
        found = published(name=name, source=source, weights=weights)
        certain = Path(urlparse(found.address).path).name == file.name
        origin = found.label if certain else f"{found.label}, which {file.name} is taken to follow"
    else:
        found = published(name=name, source=source, weights=weights)
        origin = found.label
    fixed = source == "torchvision" and SIZE in str(_torchvision_defaults(name))
    return _follow(found, (found.image_size,) if fixed else None, origin)


def library_names(source: str) -> list[str]:
    """List the nets of a source: own, torchvision or timm (classification nets, without weights' tags)."""
    if source == "own":
        return list(NETS)
    if source == "torchvision":
        import torchvision

        return torchvision.models.list_models(module=torchvision.models)
    if source == "timm":
        import timm

        return timm.list_models()
    raise UserError(unknown("model.source", source, SOURCES))


def own_class(name: str) -> type[nn.Module]:
    """Import the class that a name of our own table stands for."""
    file, _, attribute = NETS[name][0].partition(":")
    module = file if file.startswith("models.") else f"models.nets.{file}"
    return getattr(importlib.import_module(module), attribute)


def _source(name: str, source: str | None) -> str:
    """Check a name against its source, or find its source."""
    candidates = SOURCES if source is None else (source,)
    for candidate in candidates:
        # timm's names may carry a tag of weights: resnet18.a1_in1k.
        if (name.partition(".")[0] if candidate == "timm" else name) in library_names(candidate):
            return candidate
    known = [known for candidate in candidates for known in library_names(candidate)]
    raise UserError(unknown("model" if source is None else f"model of {source}", name, known))


def _own(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: int,
    _: Published | None,
    arguments: dict[str, Any],
) -> nn.Module:
    net_class = own_class(name)
    sizes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    parameters = list(inspect.signature(net_class).parameters)
    own = [key for key in parameters if key not in sizes]
    if wrong := [key for key in arguments if key not in own]:
        raise UserError(*[unknown(f"argument of model {name}", key, own) for key in wrong])
    sizes = {key: value for key, value in sizes.items() if key in parameters}
    return net_class(**sizes, **{**NETS[name][1], **arguments})


def _torchvision(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: int,
    found: Published | None,
    arguments: dict[str, Any],
) -> nn.Module:
    import torchvision

    defaults = {
        key: image_size if value == SIZE else (image_size, image_size) if value == (SIZE, SIZE) else value
        for key, value in _torchvision_defaults(name).items()
    }
    arguments = {**defaults, **arguments}
    net = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **arguments)
    if in_channels != 3:
        adapt_input(net, in_channels=in_channels)
    if found is not None:
        load_tensors(net, net_tensors(read_checkpoint(fetched(found))), origin=found.label)
    return net


def _torchvision_defaults(name: str) -> dict[str, Any]:
    import torchvision

    module = torchvision.models.get_model_builder(name).__module__.rpartition(".")[2]
    return TORCHVISION_ARGUMENTS.get(module, {})


def _timm(
    name: str,
    num_classes: int,
    in_channels: int,
    image_size: int,
    found: Published | None,
    arguments: dict[str, Any],
) -> nn.Module:
    import timm

    config = timm.get_pretrained_cfg(name)
    # Transformers are built for one size, and timm resamples their position tokens when it loads weights.
    if config is not None and config.fixed_input_size and image_size != config.input_size[-1]:
        arguments = {"img_size": image_size, **arguments}
    if found is None:
        return timm.create_model(name, num_classes=num_classes, in_chans=in_channels, **arguments)
    # The library loads it, so that old names and other quirks of its files are its own business.
    net = timm.create_model(
        timm_name(name, found.label.partition(" ")[2]),
        pretrained=True,
        # custom_load is about the original files of some nets; the hub's copies are all in timm's own form.
        pretrained_cfg_overlay={"file": str(fetched(found)), "custom_load": False},
        num_classes=num_classes,
        in_chans=in_channels,
        **arguments,
    )
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    published_classes = net.pretrained_cfg["num_classes"]  # type: ignore[index]
    fresh = tuple(stages(net)[-1].parameters) if num_classes != published_classes else ()
    start_small(net, fresh)
    taken = {key: key for key in shapes if key not in fresh}
    first = () if in_channels == 3 else (f"{first_layer(net)[0]}.weight",)
    report = WeightsReport(origin=found.label, taken=taken, fresh=fresh, adapted=first, shapes=shapes)
    net.weights_report = report  # type: ignore[assignment]
    return net


def _follow(prepared: Published | Preprocessing, sizes: tuple[int, ...] | None, origin: str) -> NetInput:
    return NetInput(
        image_sizes=sizes,
        image_size=prepared.image_size,
        resize=prepared.resize,
        interpolation=prepared.interpolation,
        mean=prepared.mean,
        std=prepared.std,
        origin=origin,
    )


def _set_of_file(name: str, source: str, file_name: str) -> str:
    """Find the set of torchvision whose file has this name; else the default set, if there is one."""
    if source == "torchvision":
        import torchvision

        sets = list(torchvision.models.get_model_weights(name))
        return next((entry.name for entry in sets if entry.url.endswith(f"/{file_name}")), "default")
    import timm

    return "default" if timm.list_pretrained(f"{name.partition('.')[0]}.*") else "none"


@contextmanager
def _as_user_error(what: str) -> Iterator[None]:
    """Turn a constructor's complaint about its arguments into a message to the user."""
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"{what} cannot be built: {' '.join(str(error).split())}") from error


def _check_image_size(net: nn.Module, name: str, in_channels: int, image_size: int, *, training: bool = False) -> None:
    """Send two images without values through a net, so that a wrong size is found before training.

    Raises:
        UserError: the net fails on such images.
    """
    mode = net.training
    net.train(training)
    try:
        state = [*net.named_parameters(), *net.named_buffers()]
        images = torch.empty(2, in_channels, image_size, image_size, device="meta")
        try:
            torch.func.functional_call(net, {key: value.to("meta") for key, value in state}, images)
        except Exception as error:  # a net that meta tensors do not suit may still take the images themselves
            if any(value.is_meta for value in net.parameters()):
                return
            try:
                with torch.no_grad():  # on copies: in training, batch norm would count the images
                    copies = {key: value.clone() for key, value in state}
                    torch.func.functional_call(net, copies, torch.zeros_like(images, device="cpu"))
            except (RuntimeError, AssertionError, ValueError):
                reason = str(error).splitlines()[0]
                raise UserError(
                    f"model {name} cannot take images of {image_size}x{image_size} pixels ({reason}); "
                    f"choose another data.image_size"
                ) from error
    finally:
        net.train(mode)
