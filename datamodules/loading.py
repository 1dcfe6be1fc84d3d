"""Which images stand in which batch: samplers that yield whole batches of indices; and the workers that make them."""

import atexit
import contextlib
import ctypes
import gc
import os
import shutil
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from datamodules.randomness import balanced_order, permutation
from datamodules.targets import PADDING, blanked
from settings.errors import OUT_OF_MEMORY, UserError, WorkerFailed

AHEAD = 2
"""Batches that each worker makes ahead, as torch has it."""
WORKER_TIMEOUT = 300
"""Seconds without a batch after which workers are given up."""
MOST_WORKERS = 8
"""Of a run that does not say how many; more of them take memory, and a disk's patience."""


def workers_here(processes: int = 1) -> int:
    """How many workers a loader gets that was told no number: the cores that this process may use, shared by all.

    What they make does not depend on how many there are.

    Args:
        processes: of the run.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // processes))


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
        balanced: one class an image, int64 ``(size,)``, where each class shall be drawn equally often.
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
        """Return images uint8 ``(B, C, H, W)`` and their targets."""
        images, targets = self.source[indices.clamp_min(0)]
        return images, blanked(targets, indices == PADDING)


class BatchLoader(DataLoader[Any]):
    """A loader that gives up workers that do not answer: torch's own waits for ever, or has to know how they died."""

    patience = WORKER_TIMEOUT

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # an iterator, which is all that is asked for
        """Yield the batches.

        Raises:
            WorkerFailed: a worker died, or none came for `patience` seconds.
        """
        if not self.num_workers:
            # torch's own iterator marks each batch for a profiler: 0.1 ms, as much as gathering a small batch.
            return super().__iter__() if self.pin_memory else map(self.dataset.__getitem__, self.sampler)
        before = self._iterator._workers if self._iterator is not None else []  # type: ignore[attr-defined]
        with _Watch(before, self.patience) as watch:
            batches: Any = watch.take(super().__iter__)  # those that stay are asked to begin anew
        _workers.update(batches._workers)
        return self._patiently(batches)

    def _patiently(self, batches: Any) -> Iterator[Any]:
        with _Watch(batches._workers, self.patience) as watch:
            while True:
                try:
                    batch = watch.take(batches.__next__)
                except StopIteration:
                    return
                yield batch


class _Watch:
    """Ends workers that give no batch for long, in a thread: a stopped one can hold this process in mid-batch.

    Args:
        workers: all of a loader.
        patience: seconds. Looks are counted, not seconds: a job that was suspended goes on.
    """

    def __init__(self, workers: Sequence[Any], patience: int) -> None:
        self._workers, self._patience = workers, patience
        self._gave_up = False
        self._waits = False
        self._waited = 0.0
        self._over = threading.Event()

    def __enter__(self) -> "_Watch":
        if self._workers:
            threading.Thread(target=self._look, daemon=True, name="patience with data workers").start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()

    def take(self, get: Callable[[], Any]) -> Any:
        """Return what it gets.

        Raises:
            WorkerFailed: a worker died, or none answered for long.
        """
        self._waits = True
        try:
            found = get()
        except (RuntimeError, OSError, EOFError) as error:
            if self._gave_up:
                message = f"no batch came from the data workers for {self._patience} s (data.worker_timeout){_shared()}"
                raise WorkerFailed(message, exit_code=124) from None
            if str(error).startswith("Caught "):  # an exception of a worker, which lives
                raise
            # torch has found a dead one, or was in the middle of taking a batch from it.
            raise _how_one_died(self._workers) or error from None
        finally:
            self._waits = False
        self._waited = 0.0
        return found

    def _look(self) -> None:
        step = min(1.0, self._patience / 4)
        while not self._over.wait(step):
            self._waited += step * self._waits
            if self._waited > self._patience and self._waits:
                self._gave_up = True
                for worker in self._workers:
                    with contextlib.suppress(OSError):
                        os.kill(worker.pid, signal.SIGKILL)
                return


_workers: weakref.WeakSet[Any] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Before Python waits for its child processes, which may hang."""
    _end(list(_workers))


SHARED_MEMORY = Path("/dev/shm")  # where torch hands batches over, on Linux
SMALL = 64 * 1024**2  # bytes: what a container has of it by default


def _shared() -> str:
    """That shared memory may be what lacks, where there is little of it left."""
    free = free_shared_memory()
    if free is None or free >= SMALL:
        return ""
    return f": {SHARED_MEMORY} has {free / 1e6:.3g} MB left; data.num_workers=0 takes none (docker: --shm-size=1g)"


def free_shared_memory() -> int | None:
    """Bytes; None where batches are handed over in another way."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free if sys.platform == "linux" else None
    except OSError:
        return None


def refuse_small_shared_memory(*, workers: int, batches: int, batch_bytes: int) -> None:
    """Say at once that the batches which workers make ahead do not fit: else they die, or are waited for in vain.

    Args:
        workers: of the loader.
        batches: of an epoch.
        batch_bytes: of one.

    Raises:
        UserError: there is too little of it; names what would fit.
    """
    free = free_shared_memory()
    if not workers or free is None or min(batches, AHEAD * workers) * batch_bytes <= free:
        return
    fitting = free // (AHEAD * batch_bytes)
    raise UserError(
        f"data.num_workers={workers}: their batches of {batch_bytes / 1e6:.3g} MB, {AHEAD} ahead for each, do not fit "
        f"{SHARED_MEMORY}, which has {free / 1e6:.3g} MB left; take data.num_workers={min(fitting, workers - 1)}, a "
        "smaller data.batch_size, or give it more (docker: --shm-size=1g)"
    )


def _how_one_died(workers: Iterable[Any]) -> WorkerFailed | None:
    for _ in range(10):
        for worker in workers:
            if (code := worker.exitcode) is not None:
                killed = f"is killed by signal: {signal.strsignal(-code)}" if code < 0 else ""
                return WorkerFailed(
                    f"data worker (pid {worker.pid}) {killed or f'exited unexpectedly with exit code {code}'}"
                    + (f": {OUT_OF_MEMORY}" if code == -9 else "")
                    + (_shared() if code == -getattr(signal, "SIGBUS", 0) else "")
                )
        time.sleep(0.1)
    return None


def _end(workers: Iterable[Any]) -> None:
    for how in ("terminate", "kill", "kill"):
        with contextlib.suppress(RuntimeError):  # torch's, once, about one that was killed
            for worker in workers:
                if worker.is_alive():
                    getattr(worker, how)()
            for worker in workers:
                worker.join(timeout=1)


def batch_loader(
    source: Any,
    batches: Sampler[Any],
    *,
    workers: int = 0,
    persistent: bool = True,
    worker_timeout: int = WORKER_TIMEOUT,
) -> DataLoader[Any]:
    """Return a loader that indexes ``source`` by whole batches: arrays in this process, files in ``workers`` more.

    A worker makes whole batches, and they arrive in the sampler's order, however many workers there are.

    Args:
        source: what gives a batch for what ``batches`` yields.
        batches: a request each.
        workers: processes.
        persistent: whether they stay from one epoch to the next.
        worker_timeout: seconds without a batch after which they are given up.
    """
    loader = BatchLoader(
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
    loader.patience = worker_timeout
    return loader


def _start_worker(worker: int) -> None:
    # The collector writes into every object it looks at, and so copies what is shared with the run: 48 MiB a worker.
    gc.freeze()
    _leave_signals_to_the_run()


def _leave_signals_to_the_run() -> None:
    """Ctrl-C and a scheduler reach all processes of a run; its main one finishes the step, for which it needs us.

    So only that one ends a worker; and a worker ends by itself when that one is gone, on Linux whatever it is doing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows: SIGTERM ends a worker there
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_at_the_word_of_the_run, daemon=True).start()


PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _end_at_the_word_of_the_run() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _as_it_is(batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return batch
