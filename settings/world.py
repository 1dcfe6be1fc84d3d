"""Which of several processes this one is, as torchrun, SLURM or a run of our own says; standard library only."""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from settings.errors import UserError

OURS = "LIGHTBOX_PROCESS"
"""Set in processes that a run started itself."""
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
ELSEWHERE = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
"""What a run that starts the processes of several machines itself has to be told on each of them."""
SIOCGIFADDR = 0x8915  # linux/sockios.h
SLURM = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


@dataclass(frozen=True, kw_only=True)
class World:
    """A process among those of one run.

    Attributes:
        launcher: who started it, for messages.
        rank, size: among all.
        local_rank, local_size: among those on this machine.
        node, nodes: this machine among all.
        address, port: where process 0 listens.
    """

    launcher: str
    rank: int
    size: int
    local_rank: int
    local_size: int
    node: int
    nodes: int
    address: str
    port: int

    def variables(self) -> dict[str, str]:
        """As torchrun says it to a process."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "GROUP_RANK": str(self.node),
            "GROUP_WORLD_SIZE": str(self.nodes),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def launched(variables: Mapping[str, str] = os.environ) -> World | None:
    """The world that another program started this process in, None where it stands alone.

    torchrun's variables come first, as it also runs under SLURM. SLURM counts from two tasks on, and only under srun:
    a batch script is one process whatever the job may start, which Lightning's convention tells by the job's name.

    Raises:
        UserError: the variables contradict each other.
    """
    try:
        if all(variables.get(name) for name in TORCHRUN):
            return _torchrun(variables)
        interactive = variables.get("SLURM_JOB_NAME") in ("bash", "interactive")
        if all(variables.get(name) for name in SLURM) and int(variables["SLURM_NTASKS"]) > 1 and not interactive:
            return _slurm(variables)
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the launcher's environment variables cannot be read: {error}") from error
    return None


def interface_to(address: str) -> str | None:
    """Name of the network interface that leads to an address (IPv4, Linux); None where this cannot tell.

    gloo takes the one whose address this machine's own name has, which on many is a loopback.
    """
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
            own = socket.inet_aton(probe.getsockname()[0])
            for _, name in socket.if_nameindex():
                try:
                    asked = struct.pack("256s", name.encode())
                    if fcntl.ioctl(probe, SIOCGIFADDR, asked)[20:24] == own:
                        return name
                except OSError:  # one without an address
                    continue
    except (OSError, ImportError, AttributeError):
        pass
    return None


def follow(raw: dict[str, Any], *, is_written: Callable[[str], bool]) -> None:
    """Take the number of processes from the launcher where the user gives none.

    Args:
        raw: a composed configuration, perhaps with mistakes; changed in place.
        is_written: whether the user sets a key.
    """
    world, trainer = launched(), raw.get("trainer")
    if world is None or not isinstance(trainer, dict):
        return
    for key, count in (("devices", world.local_size), ("num_nodes", world.nodes)):
        if not is_written(f"trainer.{key}") or trainer.get(key) in ("auto", -1):
            trainer[key] = count


def _torchrun(variables: Mapping[str, str]) -> World:
    size = int(variables["WORLD_SIZE"])
    local_size = int(variables.get("LOCAL_WORLD_SIZE", size))
    nodes = int(variables.get("GROUP_WORLD_SIZE") or size // local_size)
    if nodes * local_size != size:
        raise UserError(
            f"torchrun: {size} processes on {nodes} machines, {local_size} on this one: "
            "every machine needs the same number (--nproc_per_node)"
        )
    return World(
        launcher="this run" if variables.get(OURS) else "torchrun",
        rank=int(variables["RANK"]),
        size=size,
        local_rank=int(variables["LOCAL_RANK"]),
        local_size=local_size,
        node=int(variables.get("GROUP_RANK") or 0),
        nodes=nodes,
        address=variables["MASTER_ADDR"],
        port=int(variables["MASTER_PORT"]),
    )


def _slurm(variables: Mapping[str, str]) -> World:
    size = int(variables["SLURM_NTASKS"])
    nodes = int(variables.get("SLURM_NNODES") or variables.get("SLURM_JOB_NUM_NODES") or 1)
    local_size = int(variables.get("SLURM_NTASKS_PER_NODE") or size // nodes)
    if nodes * local_size != size:
        raise UserError(
            f"SLURM: {size} tasks on {nodes} machines, {local_size} on each: "
            "every machine needs the same number (--ntasks-per-node)"
        )
    return World(
        launcher="SLURM",
        rank=int(variables["SLURM_PROCID"]),
        size=size,
        local_rank=int(variables["SLURM_LOCALID"]),
        local_size=local_size,
        node=int(variables.get("SLURM_NODEID") or 0),
        nodes=nodes,
        address=variables.get("MASTER_ADDR") or _first_host(variables.get("SLURM_JOB_NODELIST") or "127.0.0.1"),
        port=int(variables.get("MASTER_PORT") or 15000 + int(variables.get("SLURM_JOB_ID", "0")) % 10000),
    )


def _first_host(nodes: str) -> str:
    """`gpu[03-05,9],login` and `gpu03,gpu04` both begin with gpu03."""
    found = re.match(r"([^,\[\s]+)(?:\[([^,\-\]]+)[^\]]*\])?", nodes)
    return f"{found[1]}{found[2] or ''}" if found else nodes
