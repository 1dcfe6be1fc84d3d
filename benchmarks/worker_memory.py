"""Memory that a loader worker takes as it goes through the table of a large folder.

`python -m benchmarks.worker_memory`. Two workers ask for every image of 50,000 to 500,000 once, in random order. The
pictures are made in place of being decoded, so the files need not exist; the table with its names, labels and sizes
is the one that `data=folder` and `data=csv` have. The peer is torchvision's `ImageFolder`, whose `samples` are a list
of (path, label). Measured is the proportional set size (Linux's PSS) of this process and the workers together,
without mapped files, from the first image to the end of the epoch: pages that are shared until somebody writes to
them count once, and a copy counts again.
"""

import gc
import multiprocessing
import os
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.measure import Row, compared, main, one_thread
from datamodules.loading import batch_loader
from datamodules.sources.cache import Kept
from datamodules.sources.files import FileSource
from datamodules.sources.packed import PackedStrings
from datamodules.sources.per_image import PerImage
from datamodules.sources.pictures import Shrink
from settings.preprocessing import Preprocessing

BATCH, SIDE, WORKERS, CLASSES = 500, 4, 2, 100
OURS, THEIRS = "data=folder", "a list of (path, label), as in ImageFolder.samples"
MIB, MOST = 2**20, 15.0
LIMIT, ROUNDS = f"{MOST:g} MiB", 3
AT_FIRST = 4 * WORKERS


def run(*, rounds: int = ROUNDS, smallest: int = 50_000, largest: int = 500_000) -> list[Row]:
    """Compare at the two sizes; the growth of a worker ought to be small, and the same at both.

    Args:
        rounds: that count; memory varies little.
        smallest: samples.
        largest: samples.
    """
    one_thread()
    rows = []
    for count in sorted({smallest, largest}):
        growth: dict[str, list[float]] = {OURS: [], THEIRS: [], LIMIT: [MOST] * rounds}
        for _ in range(rounds):
            growth[OURS].append(grown(ours(count)))
            growth[THEIRS].append(grown(theirs(count)))
        what = f"memory growth (PSS) of a further worker in an epoch over {count:,} files"
        note = f"{statistics.median(growth[OURS]):.1f} MiB a worker, theirs {statistics.median(growth[THEIRS]):.1f}"
        for other, goal in ((LIMIT, 1.0), (THEIRS, None)):
            rows.append(compared(what, growth, ours=OURS, theirs=other, goal=goal, lower_is_better=True, note=note))
    return rows


def name_of(number: int) -> str:
    """A path as a folder of photos has it."""
    return f"train/class_{number % CLASSES:03d}/photo_{number:08d}.jpg"


class Made(FileSource):
    """A table of files whose pictures are made from their names."""

    def image(self, index: int, channels: int, shrink: Shrink | None = None, kept: Kept | None = None) -> torch.Tensor:
        """A small picture; the path is put together as for a file."""
        path = self.folder / self.keys[index]
        return torch.full((channels, SIDE, SIDE), len(path.name), dtype=torch.uint8)

    @classmethod
    def of(cls, count: int) -> "Made":
        """Return a table of so many files."""
        return cls(
            folder=Path("photos"),
            keys=PackedStrings.pack(name_of(number) for number in range(count)),
            targets=torch.arange(count) % CLASSES,
            sizes=np.full(count, 100_000, dtype=np.int64),
        )


class Order(Sampler):
    """Batches of image 0, until every worker has made some, then all images in random order.

    Args:
        count: images.
        request: makes of indices what the data set is asked for.
    """

    def __init__(self, count: int, request: Callable[[torch.Tensor], Any]) -> None:
        self.count, self.request = count, request

    def __len__(self) -> int:
        return AT_FIRST + -(-self.count // BATCH)

    def __iter__(self) -> Iterator[Any]:
        first = torch.zeros(AT_FIRST * BATCH, dtype=torch.int64)
        for chosen in torch.cat([first, torch.randperm(self.count)]).split(BATCH):
            yield self.request(chosen)


def ours(count: int) -> DataLoader:
    """The loader of training batches, as the data module makes it for files."""
    how = Preprocessing(
        image_size=SIDE, resize=SIDE, interpolation="bilinear", channels=3, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    return batch_loader(PerImage(Made.of(count), fit=how), Order(count, lambda chosen: (0, chosen)), workers=WORKERS)


class Listed(Dataset):
    """Samples as torchvision's ImageFolder holds them."""

    def __init__(self, count: int) -> None:
        self.samples = [(f"photos/{name_of(number)}", number % CLASSES) for number in range(count)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.samples[index]
        return torch.full((3, SIDE, SIDE), len(path) % 256, dtype=torch.uint8), label


def theirs(count: int) -> DataLoader:
    """The stock loader."""
    return DataLoader(Listed(count), batch_sampler=Order(count, torch.Tensor.tolist), num_workers=WORKERS)


def grown(loader: DataLoader) -> float:
    """MiB a worker by which all processes grow together between the first image and the last."""
    gc.collect()
    epoch: Any = iter(loader)
    for _ in range(AT_FIRST):
        next(epoch)
    processes = [os.getpid(), *(one.pid for one in multiprocessing.active_children() if one.pid)]
    before = together(processes)
    for _ in range(len(loader) - AT_FIRST):
        next(epoch)
    after = together(processes)
    owner: Any = loader._iterator or epoch
    owner._shutdown_workers()  # persistent ones stay otherwise
    return (after - before) / WORKERS


def together(processes: list[int]) -> float:
    """MiB of memory that the processes take together."""
    return sum(proportional(process) for process in processes) / MIB


def proportional(process: int) -> int:
    """Bytes of a process, those it shares with n others divided by n (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


if __name__ == "__main__":
    main("worker_memory", run)
