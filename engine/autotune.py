"""The fastest way to compute on this machine: a few steps of the task itself in each precision and memory layout.

No fixed choice is right: on the CPU bfloat16 takes 0.3 of a ResNet-18's time and 1.3 times an EfficientNet's. What is
tried is a copy of the task on training images without augmentation, so nothing of the run moves: weights, statistics
of norms, optimiser, random states and the place in the data are as if nobody had looked.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.seed import isolate_rng

from engine.trial import device_of

ROUNDS = 2
"""The first step of a way also pays for what is prepared once; the faster of the two counts."""
AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16}
"""What is tried, as `trainer.precision` has it; on a device that only imitates bfloat16, the first alone."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to compute.

    Attributes:
        precision: as `trainer.precision` has it.
        channels_last: whether images and weights lie in NHWC memory order.
        seconds: of a forward and a backward pass.
    """

    precision: str
    channels_last: bool
    seconds: float

    def __str__(self) -> str:
        return f"{self.precision}{' channels-last' if self.channels_last else ''} {1000 * self.seconds:.3g} ms"


def choose(
    task: LightningModule, data: Any, *, images: int, accelerator: str, channels_last: bool | None
) -> tuple[str, bool, str]:
    """The precision and the layout that are fastest here, and a line that says so.

    Args:
        task: as a run would start with it; it is not touched.
        data: the run's data module, set up.
        images: of a batch of one process.
        accelerator: as `trainer.accelerator` has it.
        channels_last: as the user has it; None leaves it open.
    """
    began = time.monotonic()
    device = device_of({"accelerator": accelerator})
    ways = ways_to_compute(task, data, images=images, device=device, channels_last=channels_last)
    best, tried = ways[0], ", ".join(map(str, ways))
    line = (
        f"trainer.precision={best.precision} trainer.channels_last={str(best.channels_last).lower()} chosen in "
        f"{ROUNDS * len(ways)} steps, {time.monotonic() - began:.1f} s; forward and backward: {tried}"
    )
    return best.precision, best.channels_last, line


def ways_to_compute(
    task: LightningModule, data: Any, *, images: int, device: torch.device, channels_last: bool | None = None
) -> list[Way]:
    """Try each way for `ROUNDS` steps, in turn; at most 8 steps in all.

    Args:
        task: as a run would start with it; it is not touched.
        data: the run's data module, set up; the first training images are taken.
        images: of a batch of one process.
        device: where to compute.
        channels_last: tried alone, where the user has said so.

    Returns:
        What was tried, the fastest first.
    """
    batch = _batch(data, images, device)
    before, task._trainer = task._trainer, None  # else the copy would take trainer and loaders along
    try:
        copied: Any = copy.deepcopy(task)
    finally:
        task._trainer = before
    precisions = [name for name in AUTOCAST if name == "32-true" or _has_bfloat16(device)]
    layouts = [False, True] if channels_last is None else [channels_last]
    ways = list(itertools.product(layouts, precisions))
    found: dict[tuple[bool, str], list[float]] = {way: [] for way in ways}
    with isolate_rng():
        copied.to(device).train()
        copied.on_train_epoch_start()  # what the first epoch freezes is frozen here, too
        for number in range(ROUNDS):
            for layout, precision in ways if number % 2 == 0 else reversed(ways):  # there and back: one copy is enough
                copied.keep_channels_last(layout)
                found[layout, precision].append(_timed_step(copied, batch, AUTOCAST[precision], device))
    made = [Way(precision=way[1], channels_last=way[0], seconds=min(times)) for way, times in found.items()]
    return sorted(made, key=lambda way: way.seconds)


def _batch(data: Any, images: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = torch.arange(min(images, len(data.splits["train"])))
    pixels, targets = data.evaluation_batch(data.plain_batch("train", chosen))
    return pixels.to(device), targets.clamp_min(0).to(device)  # a file that cannot be read has no target


def _timed_step(task: Any, batch: tuple[torch.Tensor, torch.Tensor], dtype: Any, device: torch.device) -> float:
    computing: AbstractContextManager = torch.autocast(device.type, dtype=dtype) if dtype else nullcontext()
    clock = _clock(device)
    began = clock()
    with computing:
        loss = task.training_step(batch, 0)
    loss.backward()
    taken = clock() - began
    task.zero_grad(set_to_none=True)
    return taken


def _clock(device: torch.device) -> Callable[[], float]:
    """Seconds, of the processor where one thread computes: other programs do not count there."""
    if device.type == "cpu":
        return time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def waited() -> float:
        torch.accelerator.synchronize()
        return time.perf_counter()

    return waited


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu"
