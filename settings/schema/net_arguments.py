"""Ranges of the arguments of our own nets; a net that is not here is checked against its signature alone.

A test holds names and defaults equal to the constructors'.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from settings.schema.sections import Count, Memory, Positive, Section


def _depth(value: int) -> int:
    if value < 8 or (value - 2) % 6:
        below = max(8, value - (value - 2) % 6)
        raise ValueError(f"must be 6n + 2 and at least 8, such as {below} or {below + 6}")
    return value


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd, so that the size is kept")
    return value


def _each_once(value: list[str]) -> list[str]:
    if sorted(value) != sorted(ORDER):
        raise ValueError(f"must name each of {', '.join(ORDER)} once")
    return value


ORDER = ("conv", "norm", "pool", "activation", "dropout")


class SoftmaxArguments(Section):  # noqa: D101
    pass


class MLPArguments(Section):  # noqa: D101
    widths: list[Count] = [256, 128]
    activation: Literal["relu", "leaky_relu", "gelu", "tanh", "sigmoid"] = "relu"
    dropout: Memory = 0.5


class LeNet5Arguments(Section):  # noqa: D101
    activation: Literal["tanh", "sigmoid", "relu"] = "tanh"
    pool: Literal["avg", "max"] = "avg"


class CNNArguments(Section):  # noqa: D101
    widths: Annotated[list[Count], Field(min_length=1)] = [32, 64, 128, 256]
    kernel_size: Annotated[Count, AfterValidator(_odd)] = 3
    order: Annotated[list[str], AfterValidator(_each_once)] = list(ORDER)
    norm: Literal["batch", "layer", "instance", "group", "none"] = "batch"
    groups: Count = 8
    pool: Literal["max", "avg", "none"] = "max"
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid"] = "relu"
    spatial_dropout: Memory = 0.0
    ending: Literal["flatten", "gap"] = "flatten"
    dense_widths: list[Count] = [128]
    dropout: Memory = 0.5


class CifarResNetArguments(Section):  # noqa: D101
    depth: Annotated[int, AfterValidator(_depth)] = 20
    width: Count = 16
    shortcut: Literal["identity", "projection", "none"] = "identity"
    zero_init_residual: bool = False


class AirbenchArguments(Section):  # noqa: D101
    widths: Annotated[list[Count], Field(min_length=3, max_length=3)] = [64, 256, 256]
    head_scale: Positive = 1 / 9


ARGUMENTS: dict[str, type[Section]] = {
    "softmax:Softmax": SoftmaxArguments,
    "mlp:MLP": MLPArguments,
    "lenet5:LeNet5": LeNet5Arguments,
    "cnn:CNN": CNNArguments,
    "cifar_resnet:CifarResNet": CifarResNetArguments,
    "airbench:Airbench": AirbenchArguments,
}
