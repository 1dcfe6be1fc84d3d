"""A net as an ordered list of stages from input to output that covers every parameter exactly once.

Freezing, layer-wise rates and loading weights read nothing but this list. The last stage is always "head":
the layers whose size is the number of classes, and auxiliary heads. Patch and position tokens belong to the
stem. Low-rank adapters, where a net has them, are the stage "adapters" in front of the head. Our own nets tell
their stages themselves; torchvision's families stand in the table below; timm has group matchers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from models.lora import is_adapter


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A named part of a net; `parameters` by their full names."""

    name: str
    parameters: dict[str, nn.Parameter]


# Class of torchvision -> rows of (stage, module or parameter prefixes). Where the stage's name ends in *,
# each child of the prefix is a stage of its own; in +, a new stage begins after each pooling.
TORCHVISION: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "AlexNet": [
        ("conv*", ("features",)),
        ("dense1", ("classifier.1",)),
        ("dense2", ("classifier.4",)),
        ("head", ("classifier.6",)),
    ],
    "VGG": [
        ("block+", ("features",)),
        ("dense1", ("classifier.0",)),
        ("dense2", ("classifier.3",)),
        ("head", ("classifier.6",)),
    ],
    "GoogLeNet": [
        ("stem", ("conv1", "conv2", "conv3")),
        ("inception3", ("inception3a", "inception3b")),
        ("inception4", ("inception4a", "inception4b", "inception4c", "inception4d", "inception4e")),
        ("inception5", ("inception5a", "inception5b")),
        ("head", ("aux1", "aux2", "fc")),
    ],
    "Inception3": [
        ("stem", tuple(f"Conv2d_{layer}" for layer in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3"))),
        ("mixed5", ("Mixed_5b", "Mixed_5c", "Mixed_5d")),
        ("mixed6", ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e")),
        ("mixed7", ("Mixed_7a", "Mixed_7b", "Mixed_7c")),
        ("head", ("AuxLogits", "fc")),
    ],
    "ResNet": [
        ("stem", ("conv1", "bn1")),
        ("stage1", ("layer1",)),
        ("stage2", ("layer2",)),
        ("stage3", ("layer3",)),
        ("stage4", ("layer4",)),
        ("head", ("fc",)),
    ],
    "DenseNet": [
        ("stem", ("features.conv0", "features.norm0")),
        ("stage1", ("features.denseblock1", "features.transition1")),
        ("stage2", ("features.denseblock2", "features.transition2")),
        ("stage3", ("features.denseblock3", "features.transition3")),
        ("stage4", ("features.denseblock4", "features.norm5")),
        ("head", ("classifier",)),
    ],
    "SqueezeNet": [("stage*", ("features",)), ("head", ("classifier",))],
    "MobileNetV2": [("stage*", ("features",)), ("head", ("classifier",))],
    "MobileNetV3": [("stage*", ("features",)), ("dense", ("classifier.0",)), ("head", ("classifier.3",))],
    "EfficientNet": [("stage*", ("features",)), ("head", ("classifier",))],
    "MNASNet": [
        ("stem", tuple(f"layers.{layer}" for layer in range(8))),
        *[(f"stage{number}", (f"layers.{number + 7}",)) for number in range(1, 7)],
        ("neck", ("layers.14", "layers.15")),
        ("head", ("classifier",)),
    ],
    "RegNet": [("stem", ("stem",)), ("stage*", ("trunk_output",)), ("head", ("fc",))],
    "ShuffleNetV2": [
        ("stem", ("conv1",)),
        ("stage2", ("stage2",)),
        ("stage3", ("stage3",)),
        ("stage4", ("stage4",)),
        ("neck", ("conv5",)),
        ("head", ("fc",)),
    ],
    "ConvNeXt": [("stage*", ("features",)), ("neck", ("classifier.0",)), ("head", ("classifier.2",))],
    "VisionTransformer": [
        ("stem", ("class_token", "conv_proj", "encoder.pos_embedding")),
        ("block*", ("encoder.layers",)),
        ("neck", ("encoder.ln",)),
        ("head", ("heads",)),
    ],
    "SwinTransformer": [("stage*", ("features",)), ("neck", ("norm",)), ("head", ("head",))],
    "MaxVit": [
        ("stem", ("stem",)),
        ("stage*", ("blocks",)),
        ("neck", ("classifier.2", "classifier.3")),
        ("head", ("classifier.5",)),
    ],
}


def stages(net: nn.Module) -> list[Stage]:
    """Divide a classification net into its stages, input to output, the last one "head".

    Raises:
        ValueError: the net's family is unknown, a stage names no parameter, or a parameter stands in no stage
        or two.
    """
    library = type(net).__module__.partition(".")[0]
    if library == "timm":
        rows = _timm_rows(net)
    elif library == "torchvision":
        rows = _torchvision_rows(net)
    else:
        rows = net.stages()  # type: ignore[operator]
    return _with_adapters(_collect(net, rows))


def _collect(net: nn.Module, rows: Iterable[tuple[str, Iterable[str]]]) -> list[Stage]:
    """Turn (name, prefixes) into stages; a prefix is a module's or a parameter's whole name."""
    found: list[Stage] = []
    owner: dict[str, str] = {}
    named = dict(net.named_parameters())
    for stage, prefixes in rows:
        inside: dict[str, nn.Parameter] = {}
        for prefix in prefixes:
            inside |= {name: value for name, value in named.items() if f"{name}.".startswith(f"{prefix}.")}
        for name in inside:
            if name in owner:
                raise ValueError(f"parameter {name} stands in two stages, {owner[name]} and {stage}")
            owner[name] = stage
        if not inside:
            raise ValueError(f"stage {stage} of {type(net).__name__} has no parameter")
        found.append(Stage(name=stage, parameters=inside))
    if left := [name for name in named if name not in owner]:
        raise ValueError(f"{len(left)} parameters of {type(net).__name__} stand in no stage, such as {left[0]}")
    if not found or found[-1].name != "head":
        raise ValueError(f"the last stage of {type(net).__name__} has to be head")
    return found


def _with_adapters(found: list[Stage]) -> list[Stage]:
    """Gather the adapters of all stages in one of their own."""
    inside = {name: value for stage in found for name, value in stage.parameters.items() if is_adapter(name)}
    if not inside:
        return found
    bare = [
        Stage(name=stage.name, parameters={key: value for key, value in stage.parameters.items() if key not in inside})
        for stage in found
    ]
    return [*bare[:-1], Stage(name="adapters", parameters=inside), bare[-1]]


def _torchvision_rows(net: nn.Module) -> list[tuple[str, list[str]]]:
    """Write out the table's rows for one net, without heads that are switched off."""
    family = type(net).__name__
    if family not in TORCHVISION:
        raise ValueError(f"no stages are known for torchvision's {family}; known: {', '.join(TORCHVISION)}")
    names = [f"{name}." for name, _ in net.named_parameters()]
    rows: list[tuple[str, list[str]]] = []
    for stage, prefixes in TORCHVISION[family]:
        if stage[-1] not in "*+":
            rows.append((stage, [prefix for prefix in prefixes if any(n.startswith(f"{prefix}.") for n in names)]))
            continue
        groups: list[list[str]] = []
        new_group = True
        for child, module in net.get_submodule(prefixes[0]).named_children():
            new_group |= stage[-1] == "*"
            if isinstance(module, nn.MaxPool2d):
                new_group = True
            elif any(True for _ in module.parameters()):
                if new_group:
                    groups.append([])
                groups[-1].append(f"{prefixes[0]}.{child}")
                new_group = False
        rows += [(f"{stage[:-1]}{number}", group) for number, group in enumerate(groups, start=1)]
    return rows


def _timm_rows(net: nn.Module) -> list[tuple[str, list[str]]]:
    """Read timm's group matcher: first group: stem; what stands beside the classifier: neck."""
    from timm.models import group_parameters

    classifiers = net.pretrained_cfg["classifier"]  # type: ignore[index]
    classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers or ())
    groups = group_parameters(net, net.group_matcher(coarse=True))  # type: ignore[operator]
    rows: list[tuple[str, list[str]]] = []
    head: list[str] = []
    for number, names in groups.items():
        inside = [name for name in names if any(name.startswith(f"{classifier}.") for classifier in classifiers)]
        rest = [name for name in names if name not in inside]
        head += inside
        if rest:
            rows.append(("stem" if number == 0 else "neck" if inside else f"stage{number}", rest))
    return [*rows, ("head", head)]
