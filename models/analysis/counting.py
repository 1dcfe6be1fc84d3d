"""How large and how dear a net is: parameters, multiply-accumulates, time of one image; as a whole and by layers.

One multiply-accumulate (MAC) is a multiplication and an addition: half of what torch's flop counter counts. Norms,
activations and additions are left out, as is usual. Nets without values (torch's device "meta") do, and take no time.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


def _convolution(layer: Any, given: Shape, out: Shape) -> int:
    """Outputs x weights that each of them sums over: k x k x channels of its group."""
    return math.prod(out) * layer.weight[0].numel()


def _transposed(layer: Any, given: Shape, out: Shape) -> int:
    """Inputs x weights that each of them is spread by."""
    return math.prod(given) * layer.weight[0].numel()


def _linear(layer: Any, given: Shape, out: Shape) -> int:
    """Outputs x inputs of each."""
    return math.prod(out) * layer.in_features


def _attention(layer: Any, given: Shape, out: Shape) -> int:
    """4 T D^2 for queries, keys, values and output, 2 T^2 D for scores and mixing; self-attention of T tokens."""
    tokens, width = out[-2], out[-1]
    return out[0] * (4 * tokens * width**2 + 2 * tokens**2 * width)


FORMULAS: list[tuple[tuple[type[nn.Module], ...], Callable[[Any, Shape, Shape], int]]] = [
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _transposed),
    ((nn.Linear,), _linear),
    ((nn.MultiheadAttention,), _attention),
]
"""The textbook's formulas; what else has weights (norms, embeddings) counts nothing."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One row of a net.

    Attributes:
        name: the module's.
        kind: its class.
        output: shape without the batch; empty where no module says it.
        weights: parameters that it holds itself.
        macs: by formula; of `counted` rows by torch's counter.
        counted: whether the work stands outside any layer: products inside a module's own code.
    """

    name: str
    kind: str
    output: Shape
    weights: int
    macs: int
    counted: bool = False


def parameters(net: nn.Module) -> int:
    """Number of parameters."""
    return sum(value.numel() for value in net.parameters())


def megabytes(net: nn.Module) -> float:
    """Size of the parameters and buffers as they are stored, in MB of 10^6 bytes."""
    return sum(value.numel() * value.element_size() for value in [*net.parameters(), *net.buffers()]) / 1e6


def macs(net: nn.Module, image: Tensor) -> int:
    """Multiply-accumulates of one forward pass, by torch's flop counter.

    Args:
        net: of any device, "meta" among them; put into evaluation mode for it, and back.
        image: (1, C, H, W) on the same device.
    """
    return _counted(net, image)[""]


def layers(net: nn.Module, image: Tensor) -> list[Layer]:
    """Every layer as it is reached, by the textbook's formulas.

    One that is used twice has two rows, its weights in the first.
    Products that a module computes by itself (attention written out in functions) get a row of the counter's. Weights
    that no layer was called with (class tokens, tables of positions) get one without work.
    """
    rows: list[Layer] = []
    hooks = []
    for name, module in net.named_modules():
        formula = _formula(module)
        if formula or (next(module.children(), None) is None and not isinstance(module, nn.Identity)):
            hooks.append(module.register_forward_hook(_row(rows, name, formula)))
    try:
        counted = _counted(net, image)
    finally:
        for hook in hooks:
            hook.remove()
    called = {row.name for row in rows}
    for name, module in net.named_modules():
        if any(name == one or name.startswith(f"{one}.") for one in called):  # a layer brings its parts along
            continue
        weights = sum(value.numel() for value in module.parameters(recurse=False))
        own = _alone(counted, name)
        if weights or own:
            row = Layer(name=name, kind=type(module).__name__, output=(), weights=weights, macs=own, counted=own > 0)
            inside = [place for place, one in enumerate(rows) if not name or one.name.startswith(f"{name}.")]
            rows.insert(min(inside, default=len(rows)), row)
    return rows


def latency(net: nn.Module, images: Tensor, repeats: int) -> float:
    """Median seconds of one forward pass in evaluation mode, after one that warms up."""
    with _evaluating(net), torch.inference_mode():
        net(images)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            net(images)
            if images.device.type == "cuda":
                torch.cuda.synchronize(images.device)
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def _counted(net: nn.Module, image: Tensor) -> dict[str, int]:
    """Name of each module that was called -> multiply-accumulates in it; "" is the whole net."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # MATH writes attention out as products, which is what the counter knows. With gradients on, torch's encoder
    # layers do not take a path of their own that it does not know either.
    with _evaluating(net), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        net(image)
    root = type(net).__name__
    by_name = {
        name.removeprefix(root).removeprefix("."): sum(work.values()) // 2
        for name, work in counter.get_flop_counts().items()
        if name == root or name.startswith(f"{root}.")
    }
    return {**by_name, "": counter.get_total_flops() // 2}


def _alone(counted: dict[str, int], name: str) -> int:
    """Work of a module that is not its parts'; 0 for one that was not called."""
    below = [other for other in counted if other != name and other.startswith(f"{name}." if name else "")]
    parts = [other for other in below if not any(other.startswith(f"{between}.") for between in below)]
    return counted.get(name, 0) - sum(counted[part] for part in parts) if name in counted else 0


def _row(rows: list[Layer], name: str, formula: Callable[[Any, Shape, Shape], int] | None) -> Callable[..., None]:
    def hook(module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        out = out[0] if isinstance(out, tuple) else out
        if isinstance(out, Tensor):
            rows.append(
                Layer(
                    name=name,
                    kind=type(module).__name__,
                    output=tuple(out.shape[1:]),
                    weights=0 if any(row.name == name for row in rows) else parameters(module),
                    macs=formula(module, tuple(given[0].shape), tuple(out.shape)) if formula else 0,
                )
            )

    return hook


def _formula(module: nn.Module) -> Callable[[Any, Shape, Shape], int] | None:
    return next((formula for kinds, formula in FORMULAS if isinstance(module, kinds)), None)


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)
