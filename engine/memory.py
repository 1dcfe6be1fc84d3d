"""How much memory a piece of work takes at its peak, and how much there is: of a GPU, or of this process."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

import torch

STATUS, CLEAR, MEMINFO = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")
CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


KEEP_BELOW = 2**30
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of mallopt(3)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for what it takes next.

    The C library of Linux gives blocks above 32 MB back at once and takes them anew page by page, zeroed. A batch of 64
    photos is larger: normalising it took six times as long (`python -m benchmarks.normalise`). A user's own MALLOC_
    settings are kept; other allocators are not touched.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(MMAP_THRESHOLD, KEEP_BELOW)
    mallopt(TRIM_THRESHOLD, KEEP_BELOW)


class PeakMemory:
    """Bytes taken above what lay there at the first reset.

    On CUDA the caching allocator counts. On the CPU Linux counts the process's resident pages, and a process keeps
    some that it has freed: hence one start for all measurements. Elsewhere nothing is measured, and all is None.

    Args:
        device: where the net computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before: int | None = None

    def reset(self) -> None:
        """Give back what nobody holds, and let the peak start anew."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            now: int | None = torch.cuda.memory_allocated(self.device)
        else:
            try:
                CLEAR.write_text("5")  # the peak of resident pages starts anew: proc(5)
            except OSError:
                return
            now = _kilobytes(STATUS, "VmRSS")
        if self._before is None:
            self._before = now

    def peak(self) -> int | None:
        """Bytes at the highest moment since the last reset, above the start."""
        if self._before is None:
            return None
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self._before
        highest = _kilobytes(STATUS, "VmHWM")
        return None if highest is None else max(0, highest - self._before)

    def available(self) -> int | None:
        """Bytes that are free now: of the GPU, or of the machine and of the container around this process."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        free = [_kilobytes(MEMINFO, "MemAvailable"), *(_left(*files) for files in CGROUPS)]
        return min((value for value in free if value is not None), default=None)


def _kilobytes(file: Path, key: str) -> int | None:
    """A line of the kernel's, such as `VmHWM: 1234 kB`, in bytes."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def _left(limit: Path, used: Path) -> int | None:
    """What a container may still take; None where it has no limit."""
    try:
        return max(0, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # not there, or "max"
        return None
