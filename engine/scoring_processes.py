"""The processes of a launch by torchrun or SLURM, for scoring; a plain launch is one process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from settings.errors import UserError
from settings.world import launched

LARGEST_BATCH = 128
"""Of the default: the run may have trained on a larger machine."""


@dataclass(frozen=True)
class Processes:
    """One process among all."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    def device(self, wanted: str) -> torch.device:
        """The device of this process: `auto` takes a GPU where there is one.

        Raises:
            UserError: there is none of that kind.
        """
        there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        kind = next(name for name in ("cuda", "mps", "cpu") if there[name]) if wanted == "auto" else wanted
        if not there[kind]:
            raise UserError(f"device={kind}: there is none here; device=auto takes what there is")
        return torch.device(kind, self.local_rank) if kind == "cuda" else torch.device(kind)

    def say(self, text: str) -> None:
        """Print a line, once."""
        if self.rank == 0:
            print(text, flush=True)

    def shared(self, batch_size: int) -> int:
        """The batch size over all processes that is nearest above, of which each has the same share."""
        return -(-batch_size // self.world) * self.world

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank, on rank 0; on the others only their own."""
        if self.world == 1:
            return [value]
        parts: list[Any] | None = [None] * self.world if self.rank == 0 else None
        torch.distributed.gather_object(value, parts)
        return [value] if parts is None else parts


def wait_for(device: torch.device) -> None:
    """Let a device finish what it was given, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    if device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def joined() -> Iterator[Processes]:
    """Find the other processes of the launch, and leave them in order."""
    world = launched()
    if world is None or world.size == 1:
        yield Processes()
        return
    os.environ.update(world.variables())  # SLURM's tasks know them by other names
    torch.distributed.init_process_group("gloo")  # plain values are gathered, from any device
    try:
        yield Processes(world.rank, world.size, world.local_rank)
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()
