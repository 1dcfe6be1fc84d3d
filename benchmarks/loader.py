"""The loader of images in memory, against two worker processes that go image by image: `python -m benchmarks.loader`.

Real images of 32 pixels (crops of photos), batches of 512. The recipe: crop with padding, flip, RandAugment(2, 9),
Cutout, normalise. Ours is a data module's own loader with the device step of training, all in this process. Theirs is
a `DataLoader` with two workers, in which torchvision v2 treats one PIL image after the other.

Two figures: wall time, which is how fast a net is fed, and is fair to the workers where two cores are free; and CPU
time of all processes, which is what the feeding takes from everything else.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import ROUNDS, Row, compared, main, one_thread
from benchmarks.pictures import photo_crops
from benchmarks.small_images import BATCH, MEAN, RECIPE, STD, pil_pipeline
from datamodules.base import ImageDataModule
from datamodules.sources.arrays import ArraySource
from engine.memory import keep_freed_memory

OURS, THEIRS = "here, in process", "two workers, torchvision v2 on PIL, image by image"
WORKERS = 2


def run(*, rounds: int = ROUNDS, batches: int = 12) -> list[Row]:
    """Compare the feeding of an epoch; the workers are started before.

    Args:
        rounds: that count.
        batches: of an epoch.
    """
    one_thread()
    keep_freed_memory()
    crops = photo_crops(min(2048, batches * BATCH), 32)
    images = crops[torch.arange(batches * BATCH) % len(crops)]
    own = Photos(images)
    own.configure(batch_size=BATCH, recipe=RECIPE)
    own.setup()
    walls: dict[str, list[float]] = {OURS: [], THEIRS: []}
    cpus: dict[str, list[float]] = {OURS: [], THEIRS: []}
    with two_workers(images) as theirs:
        for number in range(rounds + 1):
            for name, epoch in ((OURS, ours(own)), (THEIRS, theirs)):
                wall, cpu = fed(epoch, theirs)
                if number:  # the first warms up
                    walls[name].append(wall)
                    cpus[name].append(cpu)
    rows = []
    perfect = "; two workers that never wait for a core would do with half of it as wall time"
    for kind, times, goal, more in (("wall time", walls, 5.0, ""), ("CPU time of all processes", cpus, None, perfect)):
        rate = batches * BATCH / sorted(times[OURS])[len(times[OURS]) // 2]
        what = f"loader, 32 x 32 in memory, full recipe, batch {BATCH}: {kind}"
        note = f"{rate:,.0f} images/s{more}"
        rows.append(compared(what, times, ours=OURS, theirs=THEIRS, goal=goal, note=note))
    return rows


class Photos(ImageDataModule):
    """Crops of photos in memory."""

    class_names = ("first", "second")
    channels, image_size = 3, 32
    mean, std = MEAN, STD

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.images = images

    def sources(self) -> dict[str, ArraySource]:
        """All of them train; validation, which is not measured, has the first two."""
        targets = torch.arange(len(self.images)) % 2
        keys = [f"{number}" for number in range(len(targets))]
        return {
            "train": ArraySource(self.images, targets, keys),
            "val": ArraySource(self.images[:2], targets[:2], keys[:2]),
        }


def ours(data: Photos) -> Iterator[torch.Tensor]:
    """Batches of an epoch, as a training step gets them."""
    for step, batch in enumerate(data.train_dataloader()):
        yield data.train_batch(batch, step=step)[0]


class Pictures(Dataset):
    """PIL images in memory, each treated when it is asked for."""

    def __init__(self, images: torch.Tensor) -> None:
        from torchvision.transforms.v2 import functional

        self.pictures = [functional.to_pil_image(image) for image in images]
        self.pipeline = pil_pipeline(images.shape[-1])

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.pipeline(self.pictures[index]), index % 2


@contextmanager
def two_workers(images: torch.Tensor) -> Iterator[DataLoader]:
    """The stock loader with workers that stay."""
    loader: DataLoader = DataLoader(
        Pictures(images),
        batch_size=BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        worker_init_fn=_one_thread_each,
    )
    try:
        yield loader
    finally:
        del loader


def _one_thread_each(worker: int) -> None:
    torch.set_num_threads(1)


def fed(epoch: Iterable, theirs: DataLoader) -> tuple[float, float]:
    """Wall seconds of an epoch, and CPU seconds of this process and the workers in it.

    The epoch begins inside: workers would go ahead of the clock otherwise.
    """
    processes = [os.getpid(), *(worker.pid for worker in getattr(theirs._iterator, "_workers", []))]
    wall, cpu = time.perf_counter(), sum(map(cpu_seconds, processes))
    for _ in epoch:
        pass
    return time.perf_counter() - wall, sum(map(cpu_seconds, processes)) - cpu


def cpu_seconds(process: int) -> float:
    """CPU seconds that a process has used so far, in user and system mode; Linux counts them in hundredths."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main("loader", run)
