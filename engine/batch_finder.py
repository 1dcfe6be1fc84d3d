"""The largest batch that fits in memory, by doubling and then halving the gap, and how fast each size is.

Each size is tried by a few whole training steps on a copy of the task. A GPU says when it is full, and that is caught.
On the CPU nobody says: the kernel ends the process. So there the memory of each size is measured, and a size is tried
only where a straight line through the last two says that it stays below the limit.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer

from engine.memory import PeakMemory
from engine.trial import trial
from reports.terminal import table_text

FIRST = 8
FINENESS = 8
"""The gap between what fits and what does not is halved until it is an eighth of what fits."""
FAST_ENOUGH = 0.9
"""A smaller batch that is nearly as fast leaves more steps an epoch: recommended from this share of the best on."""
STEPS_AN_EPOCH = 20
"""And at least so many of them, where the data has enough images."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What one batch size came to.

    Attributes:
        batch_size: images of an optimiser step.
        fits: whether memory is enough for it.
        run: whether it was tried, or follows from a straight line through smaller ones.
        seconds: of one step, loading and augmentation included; None where it was not run to its end.
        memory: bytes at the peak, above what lay there before; None where they were not measured.
    """

    batch_size: int
    fits: bool
    run: bool
    seconds: float | None = None
    memory: int | None = None

    @property
    def speed(self) -> float | None:
        """Images a second."""
        return None if self.seconds is None else self.batch_size / self.seconds


class StepClock(Callback):
    """Takes the time at the end of each optimiser step, when its loss is there to be read."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._steps = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Wait for the device, then look at the clock."""
        if trainer.global_step > self._steps:
            self._steps = trainer.global_step
            float(outputs["loss"])
            self.times.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Median of the steps behind the first, which warms up."""
        return statistics.median(after - before for before, after in zip(self.times, self.times[1:], strict=False))


def try_size(
    task: LightningModule, data: Any, batch_size: int, *, steps: int, arguments: Mapping[str, Any], memory: PeakMemory
) -> Size:
    """Train a copy of the task with batches of this size; running out of memory is an answer."""
    before, clock = data.batch_size, StepClock()
    memory.reset()
    data.batch_size = batch_size
    try:
        with trial(task, data, steps=steps + 1, arguments=arguments, callbacks=[clock]):
            pass
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        return Size(batch_size=batch_size, fits=False, run=True)
    finally:
        data.batch_size = before
    return Size(batch_size=batch_size, fits=True, run=True, seconds=clock.seconds, memory=memory.peak())


def largest_batch(
    task: LightningModule,
    data: LightningDataModule,
    *,
    images: int,
    share: float,
    steps: int,
    seconds: float,
    arguments: Mapping[str, Any],
    device: torch.device,
) -> tuple[list[Size], int | None]:
    """Try sizes; return them, smallest first, and the bytes that they were allowed to take (None: not known).

    Args:
        task: as a run would start with it; not touched.
        data: the run's data module; its batch size is put back.
        images: the largest size that is asked for.
        share: of the free memory that may be taken.
        steps: timed for each size.
        seconds: no larger size is tried once this time is used up.
        arguments: the run's arguments of `lightning.Trainer`.
        device: where the net will compute.
    """
    memory = PeakMemory(device)
    unit = arguments.get("accumulate_grad_batches") or 1
    smallest = min(FIRST * unit, max(unit, images // unit * unit))
    # Loads what is loaded on first use, which is not a matter of the batch.
    try_size(task, data, smallest, steps=1, arguments=arguments, memory=PeakMemory(device))
    memory.reset()
    free = memory.available()
    # A GPU is tried up to its own limit.
    limit = None if free is None or device.type == "cuda" else int(share * free)
    sizes = search(
        lambda size: try_size(task, data, size, steps=steps, arguments=arguments, memory=memory),
        most=max(unit, images // unit * unit),
        unit=unit,
        limit=limit,
        seconds=seconds,
    )
    memory.reset()
    return sizes, limit if limit is not None else free


def search(
    attempt: Callable[[int], Size], *, most: int, unit: int = 1, limit: int | None, seconds: float
) -> list[Size]:
    """Double until a size does not fit, then halve the gap; return all sizes, smallest first.

    Args:
        attempt: tries one size.
        most: the largest size of interest.
        unit: sizes are multiples of it.
        limit: bytes; a size that would need more by a straight line through the last two is not tried.
        seconds: after this time the line answers in place of an attempt.
    """
    started = time.monotonic()
    done: list[Size] = []

    def answer(size: int) -> Size | None:
        needed = expected_memory(done, size)
        if limit is not None and needed is not None and needed > limit:
            return Size(batch_size=size, fits=False, run=False, memory=needed)
        used = time.monotonic() - started
        step = max((one.seconds or 0.0 for one in done if one.run), default=0.0)
        if len(done) >= 2 and used + 3 * step > seconds:  # three steps are the least that a size takes
            known = needed is not None and limit is not None
            return Size(batch_size=size, fits=True, run=False, memory=needed) if known else None
        return attempt(size)

    size = min(FIRST * unit, most)
    while (found := answer(size)) is not None:
        done.append(found)
        if not found.fits or size == most:
            break
        size = min(2 * size, most)
    fitting = [one.batch_size for one in done if one.fits]
    if done[-1].fits or not fitting:
        return done
    low, high = fitting[-1], done[-1].batch_size
    while high - low > max(unit, low // FINENESS):
        middle = max(unit, (low + high) // 2 // unit * unit)
        if middle in (low, high) or (found := answer(middle)) is None:
            break
        done.append(found)
        low, high = (middle, high) if found.fits else (low, middle)
    return sorted(done, key=lambda one: one.batch_size)


def expected_memory(done: Sequence[Size], batch_size: int) -> int | None:
    """Bytes by the straight line through the last two sizes that were measured; None with fewer than two."""
    measured = sorted((one.batch_size, one.memory) for one in done if one.run and one.memory is not None)
    if len(measured) < 2:
        return None
    (small, less), (large, more) = measured[-2:]
    an_image = (more - less) / (large - small)
    if an_image <= 0:  # smaller than what the measurement swings by
        an_image = more / large
    return int(more + an_image * (batch_size - large))


def recommended(sizes: Sequence[Size], images: int) -> Size:
    """The smallest size that is nearly as fast as the fastest, while an epoch has enough steps.

    Args:
        sizes: of which one at least was run.
        images: how many there are to train on.
    """
    run = [one for one in sizes if one.run and one.speed]
    usable = [one for one in run if images // one.batch_size >= STEPS_AN_EPOCH] or run[:1]
    best = max(one.speed or 0.0 for one in usable)
    return next(one for one in usable if (one.speed or 0.0) >= FAST_ENOUGH * best)


def sizes_said(sizes: Sequence[Size], *, limit: int | None, images: int, device: torch.device) -> list[str]:
    """What was found, as a table and in words.

    Args:
        sizes: as `search` gives them.
        limit: bytes that they were allowed to take.
        images: how many there are to train on.
        device: where they were tried.
    """
    rows = []
    for one in sizes:
        speed = "-" if one.speed is None else f"{one.speed:.0f}"
        step = "-" if one.seconds is None else f"{1000 * one.seconds:.1f}"
        taken = "-" if one.memory is None else f"{one.memory / 1e6:.0f}"
        note = "" if one.fits and one.run else "does not fit" if not one.fits and one.run else "not run"
        rows.append((one.batch_size, speed, step, taken, note))
    lines = table_text(("batch size", "images/s", "ms a step", "memory, MB", ""), rows).splitlines()
    lines.append(f"measured on {device.type}: loading, augmentation, both passes and the update, median of the steps")
    room = "" if limit is None else f"; {limit / 1e9:.1f} GB may be used"
    if device.type != "cuda":
        room += "; a straight line through the last two sizes says what is not run"
    lines.append(f"memory is the peak above what lay there before{room}")
    fitting = [one for one in sizes if one.fits]
    if not fitting:
        return [*lines, f"not even {sizes[0].batch_size} images fit"]
    largest = fitting[-1]
    how = "run" if largest.run else "by that line, not run"
    end = ": all training images" if largest.batch_size >= images else ""
    more = (
        "" if any(not one.fits and (one.run or limit) for one in sizes) or end else "; larger ones were not asked for"
    )
    lines.append(f"largest that fits: {largest.batch_size}{end} ({how}){more}")
    chosen = recommended(sizes, images)
    fastest = max((one for one in sizes if one.run and one.speed), key=lambda one: one.speed or 0.0)
    share = (chosen.speed or 0.0) / (fastest.speed or 1.0)
    lines.append(
        f"fastest: {fastest.batch_size}; recommended: {chosen.batch_size}, with {share:.0%} of its speed and "
        f"{max(1, images // chosen.batch_size)} steps an epoch"
    )
    return lines


def _out_of_memory(error: BaseException) -> bool:
    """CUDA's own kind of error, or the CPU's where the system refuses at once (a limit on the process)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
