"""Which images stand in which batch: samplers that yield whole batches of indices."""

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from datamodules.randomness import balanced_order, permutation

PADDING = -1


class TrainBatches(Sampler[Any]):
    """Yield the index batches of one epoch, from any batch on; the order is a function of (seed, epoch).

    The permutation is cut into global batches, each global batch into one share for each process and
    accumulation step. So neither changes which images an optimiser step sees, and the rest of an epoch is
    the same whether or not its beginning was seen. The last, incomplete global batch is dropped; where
    there is less than one, it is kept.

    Args:
        size: number of images.
        batch_size: images per optimiser step, over all processes and accumulation steps.
        accumulation: batches of one process per optimiser step.
        rank: this process.
        world: number of processes.
        seed: of the order.
        with_epoch: yield (epoch, indices), for a source whose own draws depend on the epoch: so the key travels with
            the indices into workers.
        position: gives (epoch, number of batches to skip); asked when the first batch is, not before,
            because a trainer knows where it resumes only then.
        balanced: targets of all images, int64 ``(size,)``, where each class shall be drawn equally often.
    """

    def __init__(
        self,
        *,
        size: int,
        batch_size: int,
        accumulation: int,
        rank: int,
        world: int,
        seed: int,
        with_epoch: bool = False,
        position: Callable[[], tuple[int, int]],
        balanced: torch.Tensor | None = None,
    ) -> None:
        self.size = size
        self.rank = rank
        self.world = world
        self.seed = seed
        self.with_epoch = with_epoch
        self.position = position
        self.balanced = balanced
        steps = size // batch_size
        self.batches = steps * accumulation if steps else 1
        self.local_batch_size = batch_size // (world * accumulation) if steps else size // world

    def __len__(self) -> int:
        return self.batches  # of the whole epoch, whatever the offset: Lightning adds what it has seen itself

    def __iter__(self) -> Iterator[Any]:
        epoch, offset = self.position()
        if self.balanced is None:
            order = permutation(self.size, seed=self.seed, epoch=epoch)
        else:
            order = balanced_order(self.balanced, seed=self.seed, epoch=epoch)
        for batch in range(offset, self.batches):
            start = (batch * self.world + self.rank) * self.local_batch_size
            indices = order[start : start + self.local_batch_size]
            yield (epoch, indices) if self.with_epoch else indices


class EvaluationBatches(Sampler[torch.Tensor]):
    """Yield the index batches of a rank's images, in order, each image once.

    All ranks have the same number of batches, of the same sizes, or those with more would wait for ever: where a rank
    has no image of its own left, it gets an index of -1, `PADDING`.
    """

    def __init__(self, *, size: int, local_batch_size: int, rank: int, world: int) -> None:
        self.local_batch_size = local_batch_size
        self.indices = torch.arange(rank, rank + -(-size // world) * world, world)
        self.indices[self.indices >= size] = PADDING

    def __len__(self) -> int:
        return -(-len(self.indices) // self.local_batch_size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        # As a list, because splitting nothing gives one empty batch.
        return iter(self.indices.split(self.local_batch_size) if len(self.indices) else ())


class Padded:
    """Gives image 0 with target `PADDING`, which no score counts, for an index of `PADDING`.

    Args:
        source: what makes batches of indices.
    """

    def __init__(self, source: Any) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images uint8 ``(B, C, H, W)`` and targets int64 ``(B,)``."""
        images, targets = self.source[indices.clamp_min(0)]
        return images, targets.masked_fill(indices == PADDING, PADDING)


def batch_loader(source: Any, batches: Sampler[Any], *, workers: int = 0, persistent: bool = True) -> DataLoader:
    """Return a loader that indexes ``source`` by whole batches: arrays in this process, files in ``workers`` more.

    A worker makes whole batches, and they arrive in the sampler's order, however many workers there are. Those that are
    ``persistent`` stay from one epoch to the next.
    """
    return DataLoader(
        source,  # indexed by what the sampler yields, not by an int
        batch_size=None,
        sampler=batches,
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # gets a batch, not a list
        num_workers=workers,
        persistent_workers=persistent and workers > 0,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
        # Else every iterator takes a number from the global generator.
        generator=torch.Generator(),
    )


def _start_worker(worker: int) -> None:
    # The collector writes into every object it looks at, and so copies what is shared with the run: 48 MiB a worker.
    gc.freeze()
    _leave_signals_to_the_run()


def _leave_signals_to_the_run() -> None:
    """Ctrl-C and a scheduler reach all processes of a run; its main one finishes the step, for which it needs us.

    So only that one ends a worker; and a worker ends by itself when that one is gone.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows: SIGTERM ends a worker there
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_at_the_word_of_the_run, daemon=True).start()


def _end_at_the_word_of_the_run() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _as_it_is(batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return batch
