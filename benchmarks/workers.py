"""JPEG files by two worker processes, by two threads, and by neither: `python -m benchmarks.workers`.

Wall time of an epoch of training batches at 224 pixels, recipe of `benchmarks.jpeg`, device step of training included,
which runs in the main thread whoever decodes. It says something only where two cores are free. Beside it the CPU time
of all processes.

The threads exist in here alone; a run has processes (`data.num_workers`). On two cores those took 0.69 of the wall time
of none on small files and 0.59 on phone photos, threads 0.73 and 0.52. That does not pay for a second way: a decoder
that crashes ends only itself in a process, and threads would share what was not made for it, such as Python's list of
warning filters and the generator of an albumentations line.
"""

import itertools
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.jpeg import PHONE, SIZE, SMALL, opened
from benchmarks.loader import cpu_seconds
from benchmarks.measure import Row, compared, main, one_thread
from benchmarks.pictures import write_jpegs
from datamodules.folder import Folder
from engine.memory import keep_freed_memory

COUNT = 2
HERE, THREADS, WORKERS = "in this process", "two threads", "two worker processes"
AHEAD = 2 * COUNT  # batches: as a loader's `prefetch_factor`
Batch = tuple[torch.Tensor, torch.Tensor]


def run(*, rounds: int = 7, small: int = 256, phone: int = 16) -> list[Row]:
    """Compare the three on small files and on phone photos, in turns.

    Args:
        rounds: that count.
        small: number of files of 500 x 375 pixels.
        phone: of 4000 x 3000.
    """
    one_thread()
    keep_freed_memory()
    rows = []
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(COUNT) as pool:
        for (width, height), count, batch in ((SMALL, small, 16), (PHONE, phone, 2)):
            folder = Path(scratch) / f"{width}"
            write_jpegs(folder, count, width=width, height=height)
            walls, cpus = _times(folder, count, batch, pool, rounds)
            what = f"JPEG {width}x{height} -> {SIZE}, batches of {batch}"
            for kind, times in (("wall time", walls), ("CPU time of all processes", cpus)):
                for ours, theirs in ((WORKERS, HERE), (THREADS, HERE), (THREADS, WORKERS)):
                    named = f"{what}: {kind} of {ours}"
                    rows.append(compared(named, times, ours=ours, theirs=theirs, lower_is_better=True))
    return rows


def _times(
    folder: Path, count: int, batch: int, pool: ThreadPoolExecutor, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and CPU seconds of each round; the workers are started before, and stay."""
    data = opened(folder, count, batch_size=batch)
    served = opened(folder, count, batch_size=batch, workers=COUNT)
    plain, loader = data.train_dataloader(), served.train_dataloader()
    ways: dict[str, Callable[[], Iterator[Batch]]] = {
        HERE: lambda: iter(plain),
        THREADS: lambda: by_threads(plain, pool),
        WORKERS: lambda: iter(loader),
    }
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    for number, (name, way) in itertools.product(range(rounds + 1), ways.items()):
        processes = [os.getpid(), *(worker.pid for worker in getattr(loader._iterator, "_workers", []))]
        wall, cpu = time.perf_counter(), sum(map(cpu_seconds, processes))
        seen = sum(1 for _ in trained_on(data, way()))
        if number:  # the first warms up, and starts the workers
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(max(sum(map(cpu_seconds, processes)) - cpu, 0.01))
        assert seen == count // batch
    return walls, cpus


def trained_on(data: Folder, batches: Iterator[Batch]) -> Iterator[torch.Tensor]:
    """Batches as a training step gets them."""
    for step, batch in enumerate(batches):
        yield data.train_batch(batch, step=step)[0]


def by_threads(loader: Any, pool: ThreadPoolExecutor) -> Iterator[Batch]:
    """The loader's batches in its order, each made whole by one of the threads, a few ahead."""
    requests = iter(loader.sampler)
    ahead: deque[Future[Batch]] = deque()
    for request in itertools.chain(requests, itertools.repeat(None, AHEAD)):
        if request is not None:
            ahead.append(pool.submit(loader.dataset.__getitem__, request))
        if ahead and (request is None or len(ahead) > AHEAD):
            yield ahead.popleft().result()


if __name__ == "__main__":
    main("workers", run)
